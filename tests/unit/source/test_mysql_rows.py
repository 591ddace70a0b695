"""Rows of PyMySQL's packets: every length, and nothing that is no row."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.protocol import MysqlPacket

from rivet_core.api import SourceUnavailable
from rivet_core.builtin.sqlalchemy.mysql_rows import rows_of

END = b"\xfe\x00\x00\x02\x00"


def encoded(value: bytes | None) -> bytes:
    """Return the value as the protocol writes it."""
    if value is None:
        return b"\xfb"
    if len(value) < 251:
        return bytes([len(value)]) + value
    if len(value) < 1 << 16:
        return b"\xfc" + len(value).to_bytes(2, "little") + value
    return b"\xfd" + len(value).to_bytes(3, "little") + value


def read(packets: list[bytes], encodings: list[str | None]) -> list[list[object]]:
    """Read a result of these packets."""
    waiting = iter([MysqlPacket(packet, "utf8") for packet in packets])
    result = SimpleNamespace(
        converters=[(encoding, None) for encoding in encodings],
        connection=SimpleNamespace(_read_packet=lambda: next(waiting)),
        _check_packet_is_eof=lambda packet: packet.is_eof_packet(),
        unbuffered_active=True,
    )
    rows = list(rows_of(SimpleNamespace(_result=result)))
    assert not result.unbuffered_active
    return rows


TEXTS = st.none() | st.text(st.characters(exclude_categories=("Cs",))) | st.integers(200, 70_000).map("é".__mul__)


@given(st.lists(st.tuples(TEXTS, st.none() | st.binary(max_size=300)), max_size=3))
def test_values_of_every_length_come_back(rows):
    packets = [encoded(None if text is None else text.encode()) + encoded(raw) for text, raw in rows]
    assert read([*packets, END], ["utf8", None]) == [list(row) for row in rows]


@pytest.mark.parametrize(
    "packet",
    [
        b"\x01a",
        b"\x01a\x02b",
        b"\x01a\x01b\x00",
        b"\x01a\xfc\x01",
        b"\x01a\xff",
        b"\x01a\xff\x00",
        b"\x01a\xfd\xff\xff\xffx",
    ],
)
def test_a_packet_that_is_no_row_is_refused(packet):
    with pytest.raises(SourceUnavailable, match="breaks the MySQL protocol"):
        read([packet, END], ["utf8", None])
