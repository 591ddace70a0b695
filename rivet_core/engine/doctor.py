"""The verb ``doctor``: looks at everything that a run needs, changes nothing but one probe object that it deletes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rivet_core.api.destination import Check, IfAbsent
from rivet_core.api.errors import PreconditionFailed, as_rivet_error
from rivet_core.engine import plan
from rivet_core.engine.store import open_store, read_object
from rivet_core.state import open_state

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination
    from rivet_core.config import Config, ExportConfig
    from rivet_core.plugins import Registry

logger = logging.getLogger(__name__)

_PROBE = b"written by rivet doctor; safe to delete\n"


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
    try:
        for check in checks:
            yield Diagnosis(subject, check)
    except Exception as error:
        logger.debug("a check of %s", subject, exc_info=True)
        known = as_rivet_error(error)
        yield Diagnosis(subject, Check(subject, "failed", f"{known.message} [{known.code}]", known.hint))


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
        schema = source.describe(plan.build_query(source, export, {}))
        yield Check("query", "ok", f"{len(schema.columns)} columns, every type has a lossless mapping")


def _check_store(config: Config, export: ExportConfig, registry: Registry) -> Iterator[Check]:
    choice = plan.resolve_destination(export, plan.PrefixChoice(datetime.now(UTC).date(), "doctor"))
    with closing(open_store(choice, registry, config.base_dir)) as destination:
        yield from destination.check()
        yield from _probe(destination, conditional=destination.capabilities(choice.spec.capabilities).conditional_put)


def _probe(destination: Destination, *, conditional: bool) -> Iterator[Check]:
    """Write, read, overwrite against the condition, list and delete one small object."""
    key = f"_rivet_doctor_{os.urandom(4).hex()}"
    name = "write, read, delete"
    destination.put(key, _PROBE, condition=IfAbsent() if conditional else None)
    try:
        stored = read_object(destination, key, limit=len(_PROBE))
        if stored is None or stored[0] != _PROBE:
            yield Check(name, "failed", "what was read differs from what was written", "the store cannot be trusted")
            return
        if key not in {info.key for info in destination.list("_rivet_doctor_")}:
            yield Check(name, "failed", "the object that was written is not listed", "the store cannot be trusted")
            return
        if conditional and not _refuses_overwrite(destination, key):
            yield Check(
                name, "failed", "a conditional write replaced an object", "two writers could overwrite each other here"
            )
            return
    finally:
        destination.delete(key)
    if destination.head(key) is not None:
        yield Check(
            name, "failed", f"{key} is still there after it was deleted", "deletes may need a grant of their own"
        )
        return
    yield Check(name, "ok", destination.uri)


def _refuses_overwrite(destination: Destination, key: str) -> bool:
    try:
        destination.put(key, _PROBE + b"again\n", condition=IfAbsent())
    except PreconditionFailed:
        return True
    return False
