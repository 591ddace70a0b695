"""The source: what the built-in one does, but rows are read from the socket and decoded natively."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from rivet_core.api import Check
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import readers
from rivet_core.builtin.sqlalchemy.connect import open_engine, resolve_address
from rivet_core.builtin.sqlalchemy.mysql import Mysql
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.builtin.sqlalchemy.stream import ArrowBatches, Limits

if TYPE_CHECKING:
    from rivet_core.api import Query, ReadOptions, Snapshot, SourceContext
    from rivet_mysql.config import MysqlConfig

logger = logging.getLogger(__name__)


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
    _warn_once(reason)
    return SlowSource(backend, context.options, reason)


def why_not_native() -> str:
    """Return why rows cannot be decoded natively; empty where they can."""
    if sys.byteorder != "little":
        return "the native decoder knows little-endian machines only"
    try:
        import rivet_mysql._decoder  # noqa: F401
    except ImportError:
        return "rivet-mysql was installed without its native decoder"
    return ""


@cache
def _warn_once(reason: str) -> None:
    logger.warning("MySQL is read by the slower built-in source: %s", reason)


class SlowSource(SqlalchemySource):
    """The built-in source, where native decoding is not possible.

    Args:
        backend: what is specific to MySQL.
        options: how the export wants its values read.
        reason: why rows cannot be decoded natively.
    """

    def __init__(self, backend: Mysql, options: ReadOptions, reason: str) -> None:
        super().__init__(backend, options)
        self._reason = reason

    def check(self) -> Iterator[Check]:
        """Connect, report what answers, and that it is read slowly."""
        yield from super().check()
        yield Check(
            "source reading",
            "warning",
            f"by the slower built-in source: {self._reason}",
            "install a wheel of rivet-mysql, or a C compiler and rivet-mysql again",
        )


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
        yield from super().check()
        yield Check("source reading", "ok", "rows decoded natively")
