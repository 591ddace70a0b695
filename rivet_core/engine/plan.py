"""Resolves what a command is about to work on: prefix, source, query, format. Reads no data and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, cast

from rivet_core.api.errors import UsageError
from rivet_core.api.source import Query, Source, SourceContext
from rivet_core.api.sql import find_binds
from rivet_core.config.placeholders import placeholders_in, resolve

if TYPE_CHECKING:
    from rivet_core.api.format import Format
    from rivet_core.api.source import SourceSchema
    from rivet_core.config import Config, DestinationChoice, ExportConfig
    from rivet_core.plugins import Registry
    from rivet_core.state import RunRow, StateStore


@dataclass(frozen=True)
class PrefixChoice:
    """Which of an export's prefixes a command means.

    Attributes:
        day: what ``{date}`` becomes.
        run_id: what ``{run_id}`` becomes; ``None`` where the template has none.
        prefix: use exactly this prefix and resolve nothing.
    """

    day: date
    run_id: str | None = None
    prefix: str | None = None


def choose_prefix(
    config: Config,
    export: ExportConfig,
    *,
    day: date | None = None,
    run_id: str | None = None,
    prefix: str | None = None,
) -> PrefixChoice:
    """Decide which of an export's prefixes a command means that reads one, from the flags it was given.

    A template that names the run means the newest run in the state; ``{date}`` is the day on which the run that is
    meant has started, else today (UTC). The state is opened only where the flags and the template leave that open.

    Raises:
        UsageError: the template names the run, and the state knows none.
        StateError: the state database cannot be read.
    """
    named = placeholders_in(export.destination.template)
    if prefix is None and "run_id" in named and (run_id is None or (day is None and "date" in named)):
        from rivet_core.state import read_state  # loads SQLAlchemy, which most validations do without

        with read_state(config.state_url, config.base_dir) as state:
            meant = _find_run(state, export.name, run_id) if state is not None else None
        if meant is not None:
            run_id, day = meant.run_id, day or meant.started_at.astimezone(UTC).date()
        elif run_id is None:
            raise UsageError(
                f"the prefix of {export.name!r} names the run, and the state knows none", hint="name it with --run-id"
            )
    return PrefixChoice(day or datetime.now(UTC).date(), run_id, prefix)


def _find_run(state: StateStore, export: str, run_id: str | None) -> RunRow | None:
    return state.newest_run(export) if run_id is None else state.find_run(export, run_id)


def resolve_destination(export: ExportConfig, choice: PrefixChoice) -> DestinationChoice:
    """Return the export's destination with its prefix resolved."""
    if choice.prefix is not None:
        return export.destination.with_prefix(choice.prefix)
    values = export.placeholders(choice.day, choice.run_id)
    return export.destination.with_prefix(resolve(export.destination.template, values))


def open_source(config: Config, export: ExportConfig, registry: Registry) -> Source:
    """Open the source for one export; nothing is connected before the first query."""
    context = SourceContext(base_dir=config.base_dir, options=export.read_options())
    factory = cast("Callable[[object, SourceContext], Source]", registry.load(config.source.spec, "factory"))
    return factory(config.source.model, context)


def open_format(export: ExportConfig, registry: Registry) -> Format:
    """Build the configured file format."""
    factory = cast("Callable[[object], Format]", registry.load(export.format.spec, "factory"))
    return factory(export.format.model)


def open_named_format(name: str, export: ExportConfig, registry: Registry) -> Format:
    """Build the format that a manifest names: the configured one, or another with its defaults.

    Raises:
        MissingPlugin: no installed plugin has it.
    """
    if name == export.format.spec.name:
        return open_format(export, registry)
    spec = registry.format(name)
    model = cast("Callable[[], object]", registry.load(spec, "config"))
    return cast("Callable[[object], Format]", registry.load(spec, "factory"))(model())


def describe_query(source: Source, export: ExportConfig, params: Mapping[str, str]) -> tuple[Query, SourceSchema]:
    """Return the export's query with its binds filled, and its columns, which each piece of it is read as.

    Raises:
        UsageError: a bind has no ``--param``.
        SourceError: see ``Source.describe``.
    """
    query = _build_query(source, export, params)
    schema = source.describe(query)
    return replace(query, columns=tuple(schema.columns)), schema


def _build_query(source: Source, export: ExportConfig, params: Mapping[str, str]) -> Query:
    if export.table is not None:
        return source.table_query(export.table)
    assert export.query is not None  # noqa: S101  the configuration demands exactly one of the two
    wanted = find_binds(export.query, source.engine.dialect.name)
    missing = [name for name in wanted if name not in params]
    if missing:
        raise UsageError(
            f"the query of {export.name!r} needs a value for {', '.join(missing)}",
            hint=" ".join(f"--param {name}=VALUE" for name in missing),
        )
    return Query(export.query, {name: params[name] for name in wanted})


def binds_of(config: Config, export: ExportConfig, registry: Registry) -> tuple[str, ...]:
    """The names of the binds in an export's query; empty for a table."""
    dialect = registry.source_dialect(config.source.type) or config.source.type
    return find_binds(export.query, dialect) if export.query else ()


def check_params(
    config: Config, exports: tuple[ExportConfig, ...], registry: Registry, params: Mapping[str, str]
) -> None:
    """Refuse a ``--param`` that no selected export uses: it is a typing error more often than not."""
    used = {name for export in exports for name in binds_of(config, export, registry)}
    unused = sorted(set(params) - used)
    if unused:
        raise UsageError(
            f"no selected export has a bind named {', '.join(unused)}",
            hint=f"binds in use: {', '.join(sorted(used)) or 'none'}; in SQL a bind is written ${{name}}",
        )
