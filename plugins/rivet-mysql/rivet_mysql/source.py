"""The source: what the built-in one does, but rows are read from the socket and decoded natively."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import readers
from rivet_core.builtin.sqlalchemy.connect import open_engine, resolve_address
from rivet_core.builtin.sqlalchemy.mysql import Mysql
from rivet_core.builtin.sqlalchemy.reading import SlowSource, and_natively
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.builtin.sqlalchemy.stream import ArrowBatches, Limits

if TYPE_CHECKING:
    from rivet_core.api import Check, Query, Snapshot, SourceContext
    from rivet_mysql.config import MysqlConfig


def open_source(config: MysqlConfig, context: SourceContext) -> SqlalchemySource:
    """Open the source; nothing connects before the first query.

    Raises:
        ConfigError: the configuration names no usable database.
        DriverMissing: PyMySQL is not installed.
    """
    address = resolve_address(config, context.base_dir)
    backend = Mysql(
        open_engine(address), context.options, tls_required=address.tls_required, read_timeout=config.read_timeout
    )
    reason = why_not_native()
    if not reason:
        return NativeSource(backend, context.options)
    return SlowSource(backend, context.options, database="MySQL", reason=reason, package="rivet-mysql")


def why_not_native() -> str:
    """Return why rows cannot be decoded natively; empty where they can."""
    if sys.byteorder != "little":
        return "the native decoder knows little-endian machines only"
    try:
        import rivet_mysql._decoder  # noqa: F401
    except ImportError:
        return "rivet-mysql was installed without its native decoder"
    return ""


class NativeSource(SqlalchemySource):
    """A MySQL or MariaDB database whose rows are decoded natively."""

    @contextmanager
    def read(self, query: Query, *, batch_bytes: int, snapshot: Snapshot | None = None) -> Iterator[ArrowBatches]:
        """Stream the rows, on a connection of their own or one of the view's."""
        from rivet_mysql.columns import choose
        from rivet_mysql.stream import PacketBatches
        from rivet_mysql.wire import Wire

        options = self._options
        with self._backend.run(query, snapshot) as result:
            resolved = readers(result.columns, options, self._backend.decoder)
            wire = Wire(result.cursor)
            columns = choose(
                result.columns,
                resolved,
                wire.text_columns,
                max_value_bytes=options.max_value_bytes,
                zero_dates=options.zero_dates,
            )
            limits = Limits(batch_bytes, options.max_value_bytes)
            try:
                locate, clock = self._locator(query, resolved), result.clock or Clock()
                yield PacketBatches(wire, columns, limits, self._backend.failures, locate, clock=clock)
            finally:
                wire.give_back()

    def check(self) -> Iterator[Check]:
        """Connect, and report what answers."""
        yield from and_natively(super().check(), "rows decoded natively")
