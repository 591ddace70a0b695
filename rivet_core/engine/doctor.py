"""The verb ``doctor``: looks at everything that a run needs, changes nothing but one probe object that it deletes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rivet_core.api.destination import Check
from rivet_core.api.errors import as_rivet_error
from rivet_core.engine import plan
from rivet_core.engine.probe import probe
from rivet_core.engine.store import open_store
from rivet_core.state import open_state

if TYPE_CHECKING:
    from rivet_core.config import Config, ExportConfig
    from rivet_core.plugins import Registry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Diagnosis:
    """One check and what it is about: ``plugins``, ``state``, ``source`` or an export's destination."""

    subject: str
    check: Check


def examine(config: Config, exports: tuple[ExportConfig, ...], registry: Registry) -> Iterator[Diagnosis]:
    """Yield every check as it is done; a check that fails is a result, not an exception."""
    yield from _about("plugins", _check_plugins(registry))
    yield from _about("state", _check_state(config))
    if exports:
        yield from _about("source", _check_source(config, exports[0], registry))
    for export in exports:
        yield from _about(f"export {export.name}", _check_query(config, export, registry))
        if export.destination.spec.kind == "store":
            yield from _about(f"export {export.name}", _check_store(config, export, registry))


def _about(subject: str, checks: Iterator[Check]) -> Iterator[Diagnosis]:
    for check in _survived(subject, lambda: checks):
        yield Diagnosis(subject, check)


def _survived(name: str, checks: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Yield the checks; an error that ends them, or keeps them from beginning, becomes the last, called ``name``."""
    try:
        yield from checks()
    except Exception as error:
        logger.debug("a check of %s", name, exc_info=True)
        known = as_rivet_error(error)
        yield Check(name, "failed", f"{known.message} [{known.code}]", known.hint)


def _check_plugins(registry: Registry) -> Iterator[Check]:
    for plugin in registry.plugins:
        if plugin.status == "active":
            yield Check(plugin.name, "ok", f"{plugin.distribution} {plugin.version}")
        elif plugin.status == "disabled":
            yield Check(plugin.name, "skipped", "disabled by RIVET_PLUGINS")
        else:
            yield Check(plugin.name, "warning", f"{plugin.status}: {plugin.error}", "rivet plugins list --tracebacks")


def _check_state(config: Config) -> Iterator[Check]:
    with open_state(config.state_url, config.base_dir) as state:
        runs = len(state.runs())
        yield Check("state database", "ok", "opened" + ("" if runs else ", empty"))


def _check_source(config: Config, export: ExportConfig, registry: Registry) -> Iterator[Check]:
    with closing(plan.open_source(config, export, registry)) as source:
        yield from source.check()


def _check_query(config: Config, export: ExportConfig, registry: Registry) -> Iterator[Check]:
    if export.query is not None and plan.binds_of(config, export, registry):
        yield Check("query", "skipped", "it needs values for its binds")
        return
    with closing(plan.open_source(config, export, registry)) as source:
        _, schema = plan.describe_query(source, export, {})
        yield Check("query", "ok", f"{len(schema.columns)} columns, every type has a lossless mapping")


def _check_store(config: Config, export: ExportConfig, registry: Registry) -> Iterator[Check]:
    choice = plan.resolve_destination(export, plan.PrefixChoice(datetime.now(UTC).date(), "doctor"))
    with closing(open_store(choice, registry, config.base_dir)) as destination:
        yield from _survived("destination", destination.check)
        yield from probe(destination, choice.spec.capabilities)
