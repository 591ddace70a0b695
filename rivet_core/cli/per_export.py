"""What commands share that look at the prefixes of several exports: the choice of them, and one report for each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rivet_core.config import Config, ExportConfig
    from rivet_core.engine.plan import PrefixChoice
    from rivet_core.engine.result import ErrorReport

logger = logging.getLogger(__name__)


class Report(Protocol):
    """What a command found out about one export."""

    @property
    def exit_code(self) -> int:
        """The command's exit code, if this were the only export."""

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""


R = TypeVar("R", bound=Report)


@dataclass(frozen=True)
class PrefixFlags:
    """What ``options.prefix_options`` gives: which of an export's prefixes is meant."""

    day: date | None = None
    run_id: str | None = None
    prefix: str | None = None

    def choose(self, config: Config, export: ExportConfig) -> PrefixChoice:
        """Decide which of the export's prefixes the command means."""
        from rivet_core.engine import plan

        return plan.choose_prefix(config, export, day=self.day, run_id=self.run_id, prefix=self.prefix)


def select_stores(config: Config, names: Iterable[str], flags: PrefixFlags, *, refusal: str) -> list[ExportConfig]:
    """Return the selected exports that go into a store.

    Args:
        refusal: why a stream is no use to the command.

    Raises:
        UsageError: there is none, or one prefix is given for several.
    """
    from rivet_core.api.errors import UsageError

    exports = [export for export in config.select(names) if export.destination.spec.kind == "store"]
    if not exports:
        raise UsageError(refusal, hint="select an export into a store")
    if flags.prefix is not None and len(exports) > 1:
        raise UsageError(f"--prefix cannot be the prefix of {len(exports)} exports", hint="select one with -e NAME")
    return exports


def report_each(exports: Iterable[ExportConfig], report: Callable[[ExportConfig], R]) -> Mapping[str, R | ErrorReport]:
    """Return a report for each export by its name; an error is one, so that it stops none of the others."""
    from rivet_core.engine.result import error_report

    reports: dict[str, R | ErrorReport] = {}
    for export in exports:
        try:
            reports[export.name] = report(export)
        except Exception as error:
            logger.debug("no report on %s", export.name, exc_info=True)
            reports[export.name] = error_report(error, export.name)
    return reports


def as_json(reports: Mapping[str, R | ErrorReport]) -> list[dict[str, object]]:
    """Return the reports for a JSON document."""
    from rivet_core.engine.result import ErrorReport

    return [
        {"export": name, "error": asdict(report)} if isinstance(report, ErrorReport) else report.to_json()
        for name, report in reports.items()
    ]
