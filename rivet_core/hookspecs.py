"""The extension points. A plugin is a module with functions of these names, marked with ``hookimpl``.

Register the module under the entry-point group ``rivet``::

    [project.entry-points.rivet]
    memory = "rivet_memory.plugin"

The entry module imports ``rivet_core.api`` and ``rivet_core.hookspecs`` and nothing heavy: specs name their models and
factories by import strings, which are resolved when they are first used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from rivet_core.api import AuthResolverSpec, DestinationSpec, Event, FormatSpec, SourceSpec

ENTRY_POINT_GROUP = "rivet"

hookspec = pluggy.HookspecMarker("rivet")
hookimpl = pluggy.HookimplMarker("rivet")


@hookspec
def rivet_destinations() -> Iterable[DestinationSpec]:
    """Return the destinations of this plugin.

    >>> from rivet_core.api import Capabilities, DestinationSpec
    >>> from rivet_core.hookspecs import hookimpl
    >>> @hookimpl
    ... def rivet_destinations():
    ...     return [
    ...         DestinationSpec(
    ...             type="memory",
    ...             kind="store",
    ...             summary="Objects in this process's memory",
    ...             config="rivet_memory.config:MemoryConfig",
    ...             factory="rivet_memory.store:open_memory",
    ...             capabilities=Capabilities(conditional_put=True, conditional_writer=True),
    ...         )
    ...     ]
    >>> [spec.type for spec in rivet_destinations()]
    ['memory']
    """
    raise NotImplementedError


@hookspec
def rivet_formats() -> Iterable[FormatSpec]:
    """Return the file formats of this plugin.

    >>> from rivet_core.api import FormatSpec
    >>> from rivet_core.hookspecs import hookimpl
    >>> @hookimpl
    ... def rivet_formats():
    ...     return [
    ...         FormatSpec(
    ...             name="jsonl",
    ...             suffix="jsonl",
    ...             media_type="application/x-ndjson",
    ...             summary="One JSON object a line",
    ...             config="rivet_jsonl.format:JsonlConfig",
    ...             factory="rivet_jsonl.format:JsonlFormat",
    ...         )
    ...     ]
    >>> rivet_formats()[0].suffix
    'jsonl'
    """
    raise NotImplementedError


@hookspec
def rivet_auth_resolvers() -> Iterable[AuthResolverSpec]:
    """Return the ways to get a credential that this plugin adds.

    >>> from rivet_core.api import AuthResolverSpec
    >>> from rivet_core.hookspecs import hookimpl
    >>> @hookimpl
    ... def rivet_auth_resolvers():
    ...     return [
    ...         AuthResolverSpec(
    ...             name="vault",
    ...             destinations=frozenset({"s3"}),
    ...             summary="Keys from HashiCorp Vault",
    ...             selects_on=frozenset({"vault_path"}),
    ...             produces="keys",
    ...             factory="rivet_vault.resolver:resolve",
    ...         )
    ...     ]
    >>> sorted(rivet_auth_resolvers()[0].selects_on)
    ['vault_path']
    """
    raise NotImplementedError


@hookspec
def rivet_sources() -> Iterable[SourceSpec]:
    """Return the databases that this plugin reads.

    >>> from rivet_core.api import SourceSpec
    >>> from rivet_core.hookspecs import hookimpl
    >>> @hookimpl
    ... def rivet_sources():
    ...     return [
    ...         SourceSpec(
    ...             type="duckdb",
    ...             summary="DuckDB files",
    ...             config="rivet_duckdb.source:DuckdbConfig",
    ...             factory="rivet_duckdb.source:open_source",
    ...         )
    ...     ]
    >>> rivet_sources()[0].type
    'duckdb'
    """
    raise NotImplementedError


@hookspec
def rivet_event(event: Event) -> None:
    """Observe a lifecycle event of a run (not one per batch). An exception here is a warning and never fails a run.

    >>> from rivet_core.api import Event
    >>> from rivet_core.hookspecs import hookimpl
    >>> @hookimpl
    ... def rivet_event(event: Event) -> None:
    ...     if event.kind == "published":
    ...         print(f"{event.export} is ready")
    >>> from datetime import UTC, datetime
    >>> rivet_event(Event("published", "orders_1", "orders", datetime.now(UTC)))
    orders is ready
    """
    raise NotImplementedError


@hookspec
def rivet_commands(group: click.Group) -> None:
    """Add commands to the ``rivet`` command line.

    >>> import click
    >>> from rivet_core.hookspecs import hookimpl
    >>> @hookimpl
    ... def rivet_commands(group: click.Group) -> None:
    ...     @group.command("hello")
    ...     def hello() -> None:
    ...         "Say hello."
    ...         click.echo("hello")
    >>> group = click.Group()
    >>> rivet_commands(group)
    >>> sorted(group.commands)
    ['hello']
    """
    raise NotImplementedError
