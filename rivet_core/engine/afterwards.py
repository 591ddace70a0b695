"""What follows the commit point of a run: old parts are moved aside, the dataset is verified, the source is counted."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rivet_core.api.errors import TrustError
from rivet_core.engine import plan
from rivet_core.engine.selecting.view import View
from rivet_core.engine.tidy import TidyPlan, tidy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rivet_core.config import Config, ExportConfig
    from rivet_core.contract.manifest import Manifest
    from rivet_core.engine.counters import Counters
    from rivet_core.engine.journal import Journal
    from rivet_core.engine.result import RunResult
    from rivet_core.engine.store import CheckedDestination
    from rivet_core.plugins import Registry
    from rivet_core.state import Lease


@dataclass(frozen=True)
class Afterwards:
    """Works on a dataset that is published; nothing in here can unmake it.

    Attributes:
        params: values of the query's binds.
        result: what is reported of the run.
        rehash: read parts again where the store keeps no checksum of its own.
    """

    config: Config
    export: ExportConfig
    registry: Registry
    params: Mapping[str, str]
    lease: Lease
    destination: CheckedDestination
    journal: Journal
    counters: Counters
    result: RunResult
    rehash: bool

    def tidy(self, todo: TidyPlan) -> None:
        """Move old parts aside; failures are warnings."""
        self.counters.phase = "tidying"
        done = tidy(self.destination, todo, self.result.run_id, rehash=self.rehash, guard=self.lease.check)
        result = self.result
        result.quarantined, result.deleted, result.untracked = done.quarantined, done.deleted, done.reported
        for key in done.quarantined:
            self.journal.emit_if_possible("part_quarantined", key=key)
        for message in done.warnings:
            self.journal.warn(message)

    def validate(self) -> None:
        """Verify what was published; a dataset that was to be proven and is not is no success.

        Raises:
            TrustError: it does not verify.
        """
        from rivet_core.engine.verify import verify_store

        self.counters.phase = "validating"
        self.result.status = "failed"
        report = verify_store(
            self.destination,
            export=self.export.name,
            depth="parts",
            rehash=self.rehash,
            format_of=lambda name: plan.open_named_format(name, self.export, self.registry),
        )
        self.result.validation = report.to_json()
        if report.verdict.exit_code != 0:
            raise TrustError(
                f"the published dataset does not verify: {report.verdict.value}",
                hint="another process may be changing the prefix; `rivet validate` names what is wrong",
            )
        self.result.status = "succeeded"

    def reconcile(self, content: Manifest) -> None:
        """Count the rows of the source; a dataset that was to be compared and differs is no success.

        Raises:
            TrustError: it has more or fewer rows.
        """
        from rivet_core.engine.reconcile import count_dataset

        self.counters.phase = "reconciling"
        self.result.status = "failed"
        with closing(plan.open_source(self.config, self.export, self.registry)) as source:
            described = plan.describe_query(source, self.export, self.params)
            counted = count_dataset(View(source, None, self.counters, self.journal.warn), *described, content)
        self.result.reconciliation = counted.to_json()
        if counted.result == "mismatch":
            raise TrustError(
                f"the published dataset does not agree with the source: {counted.reason}",
                hint="rows may have come or gone since they were read; `rivet reconcile` says where they differ",
            )
        if counted.result == "unknown":
            self.journal.warn(f"the dataset could not be compared with the source: {counted.reason}")
        self.result.status = "succeeded"
