"""The verb ``apply``: runs exactly what a sealed plan says, or refuses it because that is no longer true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from rivet_core.api.errors import Interrupted, PlanRefused, UsageError
from rivet_core.engine import plan as resolving
from rivet_core.engine.dataset import Reuse
from rivet_core.engine.inputs import changes, inputs_of, settings_of
from rivet_core.engine.prefix import look
from rivet_core.engine.preview import RUN_ID, planned_destination, shown_prefix, success_of
from rivet_core.engine.result import timestamp
from rivet_core.engine.run import ExportRun, RunOptions
from rivet_core.engine.selecting.position import expected_position
from rivet_core.engine.store import open_store
from rivet_core.state import open_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rivet_core.config import Config, DestinationChoice, ExportConfig
    from rivet_core.engine.prefix import PrefixView
    from rivet_core.engine.result import RunResult
    from rivet_core.engine.run import Watch
    from rivet_core.engine.sealed_plan import Plan, PlannedExport
    from rivet_core.plugins import Registry
    from rivet_core.state import StateStore

_MADE_ANEW: Final = "make a new one with `rivet plan`, look at it and apply that one"
# Two machines may not agree on the time; more than this is no disagreement any more.
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class ApprovedRun:
    """One export of a plan, and what it is compared with.

    Attributes:
        created_at: when the plan was made; its day is what ``{date}`` stands for.
        reuse: the chunks of the plan.
    """

    config: Config
    export: ExportConfig
    registry: Registry
    params: Mapping[str, str]
    planned: PlannedExport
    created_at: datetime
    reuse: Reuse

    @property
    def plan_id(self) -> str:
        """Sixteen hexadecimal digits; the id of the run that applies the plan ends with them."""
        return self.planned.plan_id

    @property
    def stale(self) -> frozenset[str]:
        """No part of an earlier dataset is wrong because of a plan."""
        return frozenset()

    def destination(self, run_id: str) -> DestinationChoice:
        """Return the destination at the planned prefix."""
        choice = resolving.PrefixChoice(self.created_at.astimezone(UTC).date(), run_id)
        return resolving.resolve_destination(self.export, choice)

    def refuse_elsewhere(self) -> None:
        """Refuse the plan if the configuration would now write elsewhere, or treat the rows in another way.

        Raises:
            PlanRefused: names every difference.
        """
        differences = changes(self.planned.settings, settings_of(self.export))
        if not differences:
            choice = planned_destination(self.export, self.created_at.astimezone(UTC).date())
            with closing(open_store(choice, self.registry, self.config.base_dir)) as store:
                prefix = shown_prefix(store.uri)
            differences = changes({"prefix": self.planned.prefix}, {"prefix": prefix})
        self._refuse_changes(differences)

    def refuse_stale(self, state: StateStore, view: PrefixView | None) -> None:
        """Refuse the plan if it was applied, if its prefix has another dataset now, or if its query reads other rows.

        Args:
            view: the prefix; ``None`` if it is one that only the run itself will name.

        Raises:
            PlanRefused: nothing was changed.
        """
        for run in state.runs_of_plan(self.export.name, self.plan_id):
            # One that died before it had read anything has used nothing of the plan up.
            if run.status == "succeeded" or run.inputs is not None:
                hint = _MADE_ANEW if run.status == "succeeded" else "`rivet run --resume` goes on with that run"
                raise PlanRefused(f"the plan of {self.export.name!r} was applied by the run {run.run_id}", hint=hint)
        if view is not None and success_of(view) != self.planned.success:
            raise PlanRefused(
                f"another dataset was published at {self.planned.prefix} since the plan was made", hint=_MADE_ANEW
            )
        if self.export.incremental is not None:
            cursor = expected_position(state, self.export, view.control.certified if view else None).cursor
            self._refuse_changes(changes({"cursor": self.planned.cursor}, {"cursor": cursor}))
        with closing(resolving.open_source(self.config, self.export, self.registry)) as source:
            inputs = inputs_of(self.export, *resolving.describe_query(source, self.export, self.params))
        self._refuse_changes(changes(self.planned.inputs, inputs))

    def _refuse_changes(self, differences: Sequence[str]) -> None:
        if differences:
            raise PlanRefused(
                f"the export {self.export.name!r} was changed since the plan was made: {', '.join(differences)}",
                hint=f"change it back, or {_MADE_ANEW}",
            )


def apply_plan(
    config: Config,
    plan: Plan,
    registry: Registry,
    options: RunOptions,
    watch: Watch,
    *,
    names: Iterable[str],
    max_age: timedelta,
) -> list[RunResult]:
    """Run what a plan says, one export after the other. One that fails does not stop the others; an interrupt does.

    Args:
        names: apply only these exports of the plan; empty for all.
        max_age: how old the plan may be.

    Raises:
        PlanRefused: the plan, or one export of it, is out of date; nothing was run.
        UsageError: the selection or the parameters make no sense; nothing was run.
        StateError: the state database cannot be opened; nothing was run.
    """
    _refuse_old(plan.created_at, max_age)
    approved = [
        _approve(config, planned, registry, options.params, plan.created_at) for planned in _select(plan, names)
    ]
    resolving.check_params(config, tuple(run.export for run in approved), registry, options.params)
    with open_state(config.state_url, config.base_dir) as state:
        for run in approved:
            _check(run, state)
        results = []
        for run in approved:
            export_run = ExportRun(config, run.export, registry, state, options, order=run)
            with watch(run.export.name, export_run.counters):
                results.append(export_run.execute())
            if results[-1].exit_code == Interrupted.exit_code:
                break
    return results


def _select(plan: Plan, names: Iterable[str]) -> list[PlannedExport]:
    wanted = set(names)
    unknown = sorted(wanted - {planned.export for planned in plan.exports})
    if unknown:
        known = ", ".join(planned.export for planned in plan.exports)
        raise UsageError(f"the plan has no export {', '.join(unknown)}", hint=f"it has: {known}")
    return [planned for planned in plan.exports if not wanted or planned.export in wanted]


def _approve(
    config: Config, planned: PlannedExport, registry: Registry, params: Mapping[str, str], created_at: datetime
) -> ApprovedRun:
    export = next((export for export in config.exports if export.name == planned.export), None)
    if export is None:
        raise PlanRefused(f"{config.path} has no export {planned.export!r} any more", hint=_MADE_ANEW)
    return ApprovedRun(config, export, registry, params, planned, created_at, Reuse(planned.bounds()))


def _refuse_old(created_at: datetime, max_age: timedelta) -> None:
    age = datetime.now(UTC) - created_at
    if age > max_age:
        made = timestamp(created_at)
        raise PlanRefused(f"the plan of {made} is too old", hint=f"{_MADE_ANEW}, or allow its age with --max-age")
    if -age > _CLOCK_TOLERANCE:
        raise PlanRefused("the plan was made in the future", hint="is the clock of this machine right?")


def _check(run: ApprovedRun, state: StateStore) -> None:
    """Refuse a plan before anything is run; each run looks again once it holds the lease."""
    run.refuse_elsewhere()
    choice = planned_destination(run.export, run.created_at.astimezone(UTC).date())
    if RUN_ID in choice.template:
        run.refuse_stale(state, None)
        return
    with closing(open_store(choice, run.registry, run.config.base_dir)) as destination:
        run.refuse_stale(state, look(destination, everything=False))
