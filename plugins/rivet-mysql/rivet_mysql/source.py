"""The source: what the built-in one does, but rows are read from the socket and decoded natively."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import readers
from rivet_core.builtin.sqlalchemy.connect import open_engine, resolve_address
from rivet_core.builtin.sqlalchemy.mysql import Declared, Mysql, leave_vectors_bytes
from rivet_core.builtin.sqlalchemy.reading import SlowSource, and_natively
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.builtin.sqlalchemy.stream import NATIVE_OVERHEAD, ArrowBatches, Limits

if TYPE_CHECKING:
    from rivet_core.api import Check, Query, Snapshot, SourceContext
    from rivet_core.builtin.sqlalchemy.backend import Statement
    from rivet_mysql.config import MysqlConfig


def open_source(config: MysqlConfig, context: SourceContext) -> SqlalchemySource:
    """Open the source; nothing connects before the first query.

    Raises:
        ConfigError: the configuration names no usable database.
        DriverMissing: PyMySQL is not installed.
    """
    address = resolve_address(config, context.base_dir)
    reason = why_not_native()
    build = Mysql if reason else BinaryMysql
    backend = build(
        open_engine(address), context.options, tls_required=address.tls_required, read_timeout=config.read_timeout
    )
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


class BinaryMysql(Mysql):
    """MySQL and MariaDB whose queries are prepared: their rows are of the binary protocol, where that will do.

    The server spends less on them than on text; docs/adr/0006-native-sources.md has the figures.
    """

    def execute(self, cursor: Any, statement: Statement, declared: Declared) -> None:
        """Prepare and execute a query, or run it as a text where that is refused or of no use."""
        from rivet_mysql import prepared

        text, params = statement
        query = text if params is None else cursor.mogrify(text, params)
        if not prepared.run(cursor, query, partial(self._suits, cursor.connection, declared)):
            super().execute(cursor, statement, declared)

    def _suits(self, connection: Any, declared: Declared, result: Any) -> bool:
        from rivet_mysql.columns import NeedsText, choose

        leave_vectors_bytes(result)
        columns = self.columns_of(result, connection, declared)
        resolved = readers(columns, self.options, self.decoder)
        try:
            choose(columns, resolved, result, self.options, binary=True)
        except NeedsText:
            return False
        return True


class NativeSource(SqlalchemySource):
    """A MySQL or MariaDB database whose rows are decoded natively."""

    read_overhead = NATIVE_OVERHEAD

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
            columns = choose(result.columns, resolved, wire.result, options, binary=wire.is_binary)
            limits = Limits(batch_bytes, options.max_value_bytes)
            try:
                locate, clock = self._locator(query, resolved), result.clock or Clock()
                yield PacketBatches(wire, columns, limits, self._backend.failures, locate, clock=clock)
            finally:
                wire.give_back()

    def check(self) -> Iterator[Check]:
        """Connect, and report what answers."""
        yield from and_natively(super().check(), "rows decoded natively")
