"""Rows are decoded natively from an encrypted connection, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from rivet_core.api import Query, ReadOptions, SourceContext
from rivet_mysql.config import MysqlConfig
from rivet_mysql.source import NativeSource, open_source
from servers.certificate import Certificate, new_certificate
from servers.mariadb import SETTINGS, Mariadb, mariadb_server
from servers.required import serve

ROWS = Query("SELECT seq, REPEAT(HEX(seq), 1 + seq % 40) AS s FROM seq_1_to_50000")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return new_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def encrypted(certificate: Certificate) -> Iterator[Mariadb]:
    """A MariaDB that shows the certificate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "ssl-cert", str(certificate.certificate))
        patch.setitem(SETTINGS, "ssl-key", str(certificate.key))
        yield from serve(mariadb_server())


@pytest.fixture
def source(encrypted: Mariadb, certificate: Certificate) -> Iterator[NativeSource]:
    config = MysqlConfig(url=encrypted.url, tls={"mode": "verify-full", "ca_file": str(certificate.certificate)})
    with closing(open_source(config, SourceContext(Path("/"), ReadOptions()))) as opened:
        assert isinstance(opened, NativeSource)
        yield opened


def test_rows_come_encrypted_and_whole(source: NativeSource) -> None:
    checks = {check.name: check for check in source.check()}
    assert checks["source encryption"].status == "ok"
    assert "off" not in checks["source encryption"].message
    with source.read(ROWS, batch_bytes=100_000) as stream:
        table = pa.Table.from_batches(stream)
    assert table["seq"].to_pylist() == list(range(1, 50_001))
    assert table["s"].to_pylist() == [f"{seq:X}" * (1 + seq % 40) for seq in range(1, 50_001)]


def test_an_encrypted_connection_is_left_promptly_and_serves_a_snapshot(source: NativeSource) -> None:
    with source.snapshot(ROWS, 1) as snapshot:
        for _ in range(2):
            with source.read(ROWS, batch_bytes=10_000, snapshot=snapshot) as stream:
                assert next(iter(stream)).num_rows > 0
        with source.read(ROWS, batch_bytes=100_000, snapshot=snapshot) as stream:
            assert sum(batch.num_rows for batch in stream) == 50_000
