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
from servers.mysql import Mysql
from servers.required import serve

ROWS = Query("SELECT n, REPEAT(HEX(n), 1 + n % 40) AS s FROM numbers ORDER BY n")
LARGE = Query("SELECT n, REPEAT(n, IF(n % 10 = 0, 3000000, 20)) AS s FROM numbers WHERE n <= 50 ORDER BY n")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return new_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def encrypted_mariadb(certificate: Certificate) -> Iterator[tuple[Mariadb, Path]]:
    """A MariaDB that shows the certificate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "ssl-cert", str(certificate.certificate))
        patch.setitem(SETTINGS, "ssl-key", str(certificate.key))
        for server in serve(mariadb_server()):
            yield server, certificate.certificate


@pytest.fixture(scope="module")
def encrypted_mysql(mysql: Mysql) -> tuple[Mariadb, Path]:
    return mysql.create_database(), mysql.ca_file


@pytest.fixture(scope="module", params=["encrypted_mariadb", "encrypted_mysql"])
def source(request: pytest.FixtureRequest) -> Iterator[NativeSource]:
    server, ca_file = request.getfixturevalue(request.param)
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    server.execute(
        "CREATE TABLE digits (d int)",
        f"INSERT INTO digits {digits}",
        "CREATE TABLE numbers (n int PRIMARY KEY)",
        "INSERT INTO numbers SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d"
        " FROM digits a, digits b, digits c, digits e, digits f WHERE f.d < 5",
    )
    config = MysqlConfig(url=server.url, tls={"mode": "verify-full", "ca_file": str(ca_file)})
    with closing(open_source(config, SourceContext(Path("/"), ReadOptions()))) as opened:
        assert isinstance(opened, NativeSource)
        yield opened


def test_rows_come_encrypted_and_whole(source: NativeSource) -> None:
    checks = {check.name: check for check in source.check()}
    assert checks["source encryption"].status == "ok"
    assert "off" not in checks["source encryption"].message
    with source.read(ROWS, batch_bytes=100_000) as stream:
        table = pa.Table.from_batches(stream)
    assert table["n"].to_pylist() == list(range(1, 50_001))
    assert table["s"].to_pylist() == [f"{n:X}" * (1 + n % 40) for n in range(1, 50_001)]


def test_large_values_come_encrypted_and_whole(source: NativeSource) -> None:
    with source.read(LARGE, batch_bytes=100_000) as stream:
        values = [value for batch in stream for value in batch["s"].to_pylist()]
    assert values == [str(n) * (20 if n % 10 else 3_000_000) for n in range(1, 51)]


def test_an_encrypted_connection_is_left_promptly_and_serves_a_snapshot(source: NativeSource) -> None:
    with source.snapshot(ROWS, 1) as snapshot:
        for _ in range(2):
            with source.read(ROWS, batch_bytes=10_000, snapshot=snapshot) as stream:
                assert next(iter(stream)).num_rows > 0
        with source.read(ROWS, batch_bytes=100_000, snapshot=snapshot) as stream:
            assert sum(batch.num_rows for batch in stream) == 50_000
