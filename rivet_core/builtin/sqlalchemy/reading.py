"""How a source with a native decoder says that it decodes natively, or that it has to read by the built-in source."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

from rivet_core.api import Check
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource

if TYPE_CHECKING:
    from rivet_core.api import ReadOptions
    from rivet_core.builtin.sqlalchemy.backend import Backend

logger = logging.getLogger(__name__)

_CHECK: Final = "source reading"


class SlowSource(SqlalchemySource):
    """The built-in source in the place of a native one, and a warning that says so once.

    Args:
        backend: what is specific to the engine.
        options: how the export wants its values read.
        database: what the warning calls the engine.
        reason: why rows cannot be decoded natively.
        package: the distribution that has the native decoder.
    """

    def __init__(self, backend: Backend, options: ReadOptions, *, database: str, reason: str, package: str) -> None:
        super().__init__(backend, options)
        self._reason = reason
        self._package = package
        warn_once(database, reason)

    def check(self) -> Iterator[Check]:
        """Connect, report what answers, and that it is read slowly."""
        yield from super().check()
        yield Check(
            _CHECK,
            "warning",
            f"by the slower built-in source: {self._reason}",
            f"install a wheel of {self._package}, or a C compiler and {self._package} again",
        )


@cache
def warn_once(database: str, reason: str) -> None:
    """Log that a database is read slowly; the same is said once in a process."""
    logger.warning("%s is read by the slower built-in source: %s", database, reason)


def and_natively(checks: Iterable[Check], how: str) -> Iterator[Check]:
    """Yield the checks of a native source, and after them how it reads, unless one of them has failed."""
    failed = False
    for check in checks:
        failed = failed or check.status == "failed"
        yield check
    if not failed:
        yield Check(_CHECK, "ok", how)
