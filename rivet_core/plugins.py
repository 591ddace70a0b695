"""Discovery of plugins, isolation of the ones that do not work, and the registry of what is installed.

Each entry point of the group ``rivet`` gets a plugin manager of its own, so whatever is wrong with one plugin (its
import, its hooks, what they return) is found by itself and touches no other.

Environment:
    ``RIVET_PLUGINS``: comma-separated names of entry points; the others are not loaded. Empty: built-ins only.
    ``RIVET_STRICT_PLUGINS``: ``1`` makes every plugin that does not work an error.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import pluggy

from rivet_core import __version__, hookspecs
from rivet_core.api.errors import MissingPlugin, PluginError, RivetError
from rivet_core.api.secret import redact
from rivet_core.api.specs import API_VERSION, AuthResolverSpec, DestinationSpec, FormatSpec, SourceSpec

if TYPE_CHECKING:
    import click

    from rivet_core.api.events import Event

__all__ = ["PluginInfo", "Provided", "Registry", "Status", "discover", "load_object", "load_registry", "strict_plugins"]

Status = Literal["active", "disabled", "broken", "incompatible", "conflict"]
Kind = Literal[
    "destination",
    "format",
    "fallback format",
    "source",
    "fallback source",
    "auth resolver",
    "events",
    "commands",
]
Claim = tuple[Kind, str]
Spec = DestinationSpec | FormatSpec | SourceSpec | AuthResolverSpec
T = TypeVar("T")

_SPEC_HOOKS: Final[Mapping[str, type[Spec]]] = {
    "rivet_sources": SourceSpec,
    "rivet_formats": FormatSpec,
    "rivet_destinations": DestinationSpec,
    "rivet_auth_resolvers": AuthResolverSpec,
}
#: What serves a name that no plugin of the other kind claims.
_SPARE: Final[Mapping[Kind, Kind]] = {"format": "fallback format", "source": "fallback source"}
_IMPORT_STRING: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_TYPE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provided:
    """One thing that a plugin adds: its kind, the name that a configuration uses, and one line about it."""

    kind: Kind
    name: str
    summary: str


@dataclass(frozen=True)
class PluginInfo:
    """What ``rivet plugins list`` shows of one plugin.

    Attributes:
        name: name of the entry point.
        distribution: name of the installed distribution.
        version: version of the distribution.
        status: ``active``; ``disabled`` by the environment; ``broken``: its code fails; ``incompatible``: written for
            another plugin interface; ``conflict``: another plugin claims the same name, the rest is in use.
        provides: what it adds; empty where the plugin was not loaded.
        error: why it does not work, one line.
        traceback: the traceback of an exception in the plugin's code, or empty.
    """

    name: str
    distribution: str
    version: str
    status: Status
    provides: tuple[Provided, ...] = ()
    error: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (plugin {self.name!r})"


@dataclass
class _Plugin:
    """A plugin while it is loaded; a failure changes its status and nothing else."""

    name: str
    distribution: str
    version: str
    status: Status = "active"
    specs: list[Spec] = field(default_factory=list)
    hooks: pluggy.HookRelay | None = None
    commands: tuple[str, ...] = ()
    errors: list[str] = field(default_factory=list)
    traceback: str = ""

    def load(self, entry: Callable[[], object]) -> None:
        """Import the entry module, register it and collect its specs."""
        manager = pluggy.PluginManager("rivet")
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(entry(), self.name)
            manager.check_pending()
            self.specs = _collect(manager.hook)
        except (pluggy.PluginValidationError, _Incompatible) as error:
            self.fail("incompatible", _one_line(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001  foreign code may raise anything
            self.fail_with(error)
        else:
            self.hooks = manager.hook

    def fail(self, status: Status, error: str) -> None:
        """Record why this plugin does not work."""
        self.status = status
        self.errors.append(redact(error))

    def fail_with(self, error: BaseException) -> None:
        """Record an exception of the plugin's own code."""
        self.fail("broken", f"{type(error).__name__}: {_one_line(error)}")
        self.traceback = redact("".join(traceback.format_exception(error)))

    @property
    def info(self) -> PluginInfo:
        """This plugin as others see it."""
        provides = [Provided(kind, name, spec.summary) for spec in self.specs for kind, name in _claims(spec)]
        if self.hooks is not None and self.hooks.rivet_event.get_hookimpls():
            provides.append(Provided("events", "", "Observes the events of a run"))
        provides += [Provided("commands", name, f"rivet {name}") for name in self.commands]
        error = "; ".join(self.errors)
        return PluginInfo(
            self.name, self.distribution, self.version, self.status, tuple(provides), error, self.traceback
        )


class _Incompatible(Exception):
    """A spec was written for another version of the plugin interface."""


class Registry:
    """Everything that is installed, by the names that a configuration uses.

    Attributes:
        destinations: usable destinations by type.
        formats: usable formats by name.
        sources: usable sources by type; under further types the source that serves them as a fallback.
    """

    def __init__(self, plugins: Iterable[_Plugin]) -> None:
        self._plugins = list(plugins)
        claims: dict[Claim, list[_Plugin]] = {}
        for plugin in self._plugins:
            for claim in (claim for spec in plugin.specs for claim in _claims(spec)):
                claims.setdefault(claim, []).append(plugin)
        self._conflicts: dict[Claim, str] = {}
        for claim, claimants in claims.items():
            if len(claimants) > 1:
                everyone = " and ".join(str(plugin.info) for plugin in claimants)
                self._conflicts[claim] = f"{claim[0]} {claim[1]!r} is provided by {everyone}"
                for plugin in claimants:
                    plugin.fail("conflict", self._conflicts[claim])
        specs = [spec for plugin in self._plugins for spec in plugin.specs]
        self.destinations: Mapping[str, DestinationSpec] = {
            spec.type: spec for spec in specs if isinstance(spec, DestinationSpec) and self._own(spec, "destination")
        }
        formats = [spec for spec in specs if isinstance(spec, FormatSpec)]
        spare = {spec.name: spec for spec in formats if self._own(spec, "fallback format")}
        wanted = {spec.name: spec for spec in formats if self._own(spec, "format")}
        self.formats: Mapping[str, FormatSpec] = {
            name: spec for name, spec in (spare | wanted).items() if ("format", name) not in self._conflicts
        }
        sources = [spec for spec in specs if isinstance(spec, SourceSpec)]
        fallbacks = {name: spec for spec in sources for name in self._own(spec, "fallback source")}
        explicit = {name: spec for spec in sources for name in self._own(spec, "source")}
        self.sources: Mapping[str, SourceSpec] = {
            name: spec for name, spec in (fallbacks | explicit).items() if ("source", name) not in self._conflicts
        }

    @property
    def plugins(self) -> tuple[PluginInfo, ...]:
        """Every plugin that is installed, the built-ins first."""
        return tuple(plugin.info for plugin in self._plugins)

    @property
    def problems(self) -> tuple[PluginInfo, ...]:
        """The plugins that do not work."""
        return tuple(info for info in self.plugins if info.status not in ("active", "disabled"))

    def destination(self, type_: str) -> DestinationSpec:
        """Return the destination of this type.

        Raises:
            MissingPlugin: no installed plugin provides it, or the one that should does not work.
            PluginError: two plugins provide it.
        """
        return self._find(self.destinations, "destination", type_)

    def format(self, name: str) -> FormatSpec:
        """Return the format of this name; raises as ``destination`` does."""
        return self._find(self.formats, "format", name)

    def source(self, type_: str) -> SourceSpec:
        """Return the source of this type, or the one that serves it as a fallback; raises as ``destination`` does."""
        return self._find(self.sources, "source", type_)

    def source_dialect(self, type_: str) -> str | None:
        """Return what the factory of a fallback source gets as ``config.dialect``; ``None`` for any other source."""
        spec = self.source(type_)
        return None if spec.type == type_ else spec.fallback_for[type_]

    def auth_resolvers(self, destination_type: str) -> tuple[AuthResolverSpec, ...]:
        """Return the usable auth resolvers of a destination, in the order in which they were registered."""
        return tuple(
            spec
            for plugin in self._plugins
            for spec in plugin.specs
            if isinstance(spec, AuthResolverSpec)
            and f"{destination_type}/{spec.name}" in self._own(spec, "auth resolver")
        )

    def load(self, spec: Spec, attribute: Literal["config", "factory"]) -> object:
        """Return the object that an import string of ``spec`` names.

        Raises:
            PluginError: it cannot be imported; names the plugin and the import string.
        """
        owner = next((plugin.info for plugin in self._plugins if any(own is spec for own in plugin.specs)), None)
        return load_object(getattr(spec, attribute), plugin=str(owner) if owner else "")

    def emit(self, event: Event) -> None:
        """Tell every plugin about an event. A subscriber that raises becomes a warning and stops nothing."""
        for plugin in self._plugins:
            if plugin.hooks is None:
                continue
            try:
                plugin.hooks.rivet_event(event=event)
            except (Exception, SystemExit) as error:  # noqa: BLE001  foreign code may raise anything
                message = f"{type(error).__name__}: {_one_line(error)}"
                logger.warning("%s failed on event %r: %s", plugin.info, event.kind, redact(message))

    def add_commands(self, group: click.Group) -> None:
        """Add the commands of all plugins to ``group``. A name that is taken is a conflict, never an override.

        A plugin whose hook raises is broken from then on and adds no command; what else it provides stays.
        """
        import click

        taken = dict.fromkeys(group.list_commands(click.Context(group)), "rivet-core")
        for plugin in self._plugins:
            if plugin.hooks is None:
                continue
            own = click.Group()  # so that a hook that fails half-way adds nothing
            try:
                plugin.hooks.rivet_commands(group=own)
            except (Exception, SystemExit) as error:  # noqa: BLE001  foreign code may raise anything
                plugin.fail_with(error)
                continue
            for name, command in own.commands.items():
                if name in taken:
                    plugin.fail("conflict", f"command {name!r} is provided by {taken[name]} and {plugin.info}")
                    continue
                taken[name] = str(plugin.info)
                plugin.commands += (name,)
                group.add_command(command, name)

    def _own(self, spec: Spec, kind: Kind) -> list[str]:
        """Return the names of this kind that ``spec`` alone claims."""
        return [name for claimed, name in _claims(spec) if claimed == kind and (kind, name) not in self._conflicts]

    def _find(self, specs: Mapping[str, T], kind: Kind, name: str) -> T:
        if name in specs:
            return specs[name]
        conflict = self._conflicts.get((kind, name)) or self._conflicts.get((_SPARE.get(kind, kind), name))
        if conflict:
            raise PluginError(conflict, hint="uninstall one of them, or name the plugins to load in RIVET_PLUGINS")
        raise _missing(kind, name, sorted(specs), self.plugins)


def discover(environ: Mapping[str, str] = os.environ) -> Registry:
    """Load every installed plugin and return the registry, whatever is wrong with some of them."""
    builtin = _Plugin("builtin", "rivet-core", __version__)
    builtin.load(lambda: importlib.import_module("rivet_core.builtin.plugin"))
    wanted = environ.get("RIVET_PLUGINS")
    names = None if wanted is None else {name.strip() for name in wanted.split(",")}
    plugins = [builtin]
    for plugin, entry in sorted(_installed(), key=lambda found: (found[0].distribution, found[0].name)):
        if names is not None and plugin.name not in names:
            plugin.status = "disabled"
        elif entry is not None:
            plugin.load(entry)
        plugins.append(plugin)
    return Registry(plugins)


def load_registry(environ: Mapping[str, str] = os.environ) -> Registry:
    """Load every installed plugin for a command that uses them; log a warning for each one that does not work.

    Raises:
        PluginError: a plugin does not work and ``RIVET_STRICT_PLUGINS`` is set.
    """
    registry = discover(environ)
    problems = [f"{info} is {_state(info)}" for info in registry.problems]
    if problems and strict_plugins(environ):
        raise PluginError(
            "; ".join(problems), hint="see `rivet plugins list --tracebacks`, or unset RIVET_STRICT_PLUGINS"
        )
    for problem in problems:
        logger.warning("%s", problem)
    return registry


def strict_plugins(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``RIVET_STRICT_PLUGINS`` makes a plugin that does not work an error."""
    return environ.get("RIVET_STRICT_PLUGINS", "").strip().lower() not in ("", "0", "false", "no", "off")


def load_object(import_string: str, *, plugin: str = "") -> object:
    """Import the object that ``package.module:name`` names.

    >>> load_object("rivet_core.api:Secret").__name__
    'Secret'

    Args:
        import_string: a module, a colon, and an attribute of it, which may be dotted.
        plugin: who wrote the string, for the error.

    Raises:
        PluginError: the string is malformed, the module does not import or has no such attribute.
        RivetError: one that the module itself raises, such as ``DriverMissing``.
    """
    where = f"{plugin}: " if plugin else ""
    if not _IMPORT_STRING.fullmatch(import_string):
        raise PluginError(f"{where}{import_string!r} is no import string", hint="write it as package.module:name")
    module, _, attributes = import_string.partition(":")
    try:
        found: object = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except RivetError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{where}cannot load {import_string!r}: {type(error).__name__}: {_one_line(error)}",
            hint="the plugin or one of its dependencies is damaged or has the wrong version; install it again",
        ) from error
    return found


def _installed() -> Iterator[tuple[_Plugin, Callable[[], object] | None]]:
    """Yield each installed entry point and how to import it, ``None`` where its metadata is damaged."""
    seen = set()
    for distribution in metadata.distributions():
        try:
            if f"[{hookspecs.ENTRY_POINT_GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
                continue
        except UnicodeDecodeError:
            continue
        name, version = "unknown", "unknown"
        try:
            name, version = distribution.name, distribution.version
            key = re.sub(r"[-_.]+", "-", name).lower()
            entries = distribution.entry_points.select(group=hookspecs.ENTRY_POINT_GROUP)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one distribution must not hide the others
            plugin = _Plugin(name, name, version)
            plugin.fail_with(error)
            yield plugin, None
            continue
        if key not in seen:  # the first one on the path is the one that Python imports
            seen.add(key)
            for entry in entries:
                yield _Plugin(entry.name, name, version), entry.load


def _collect(hooks: pluggy.HookRelay) -> list[Spec]:
    """Call the hooks that return specs and check every one of these.

    Raises:
        _Incompatible: a spec was written for another version of the plugin interface.
        TypeError: something else than specs was returned, or a field has the wrong type.
        ValueError: a field has a wrong value, or a name comes twice.
    """
    specs: list[Spec] = []
    for hook, spec_type in _SPEC_HOOKS.items():
        for returned in getattr(hooks, hook)():
            for spec in returned:
                if not isinstance(spec, spec_type):
                    raise TypeError(f"{hook} returned {type(spec).__name__} instead of {spec_type.__name__}")
                _check(spec)
                specs.append(spec)
    counts = Counter(claim for spec in specs for claim in _claims(spec))
    twice = [f"{kind} {name!r}" for (kind, name), count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} more than once")
    return specs


def _check(spec: Spec) -> None:
    name = spec.name if isinstance(spec, FormatSpec | AuthResolverSpec) else spec.type
    what = f"{type(spec).__name__} {name!r}"
    if spec.api != API_VERSION:
        raise _Incompatible(f"{what} was written for plugin interface {spec.api}, this is {API_VERSION}")
    if not isinstance(name, str) or not _TYPE_NAME.fullmatch(name):
        raise ValueError(f"{what} needs a name of letters, digits, - and _")
    for attribute in ("config", "factory"):
        value = getattr(spec, attribute, "not:needed")
        if not isinstance(value, str) or not _IMPORT_STRING.fullmatch(value):
            raise ValueError(f"{what}: {attribute} is {value!r} instead of package.module:name")
    if isinstance(spec, DestinationSpec) and spec.kind not in ("store", "stream"):
        raise ValueError(f"{what}: kind is {spec.kind!r} instead of 'store' or 'stream'")


def _claims(spec: Spec) -> Iterator[Claim]:
    """Yield the names that ``spec`` wants for itself alone."""
    match spec:
        case DestinationSpec():
            yield "destination", spec.type
        case FormatSpec():
            yield ("fallback format" if spec.fallback else "format"), spec.name
        case SourceSpec():
            yield "source", spec.type
            for type_ in spec.fallback_for:
                yield "fallback source", type_
        case AuthResolverSpec():
            for destination in sorted(spec.destinations):
                yield "auth resolver", f"{destination}/{spec.name}"


def _state(info: PluginInfo) -> str:
    return f"in conflict: {info.error}" if info.status == "conflict" else f"{info.status}: {info.error}"


def _missing(kind: Kind, name: str, known: list[str], plugins: Iterable[PluginInfo]) -> MissingPlugin:
    """Say why there is no ``name``: its plugin does not work, is disabled, or is not installed."""
    what = f"format {name!r}" if kind == "format" else f"{kind} type {name!r}"
    for info in plugins:
        if info.status == "active" or name not in (info.name, info.distribution.removeprefix("rivet-")):
            continue
        if info.status == "disabled":
            hint = f"add {info.name!r} to RIVET_PLUGINS"
            return MissingPlugin(f"{what} is not available: {info} is disabled by RIVET_PLUGINS", hint=hint)
        message = f"{what} is not available: {info} is {_state(info)}"
        return MissingPlugin(message, hint="see `rivet plugins list --tracebacks`")
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    guess = f"did you mean {close[0]!r}? if not: " if close else ""
    install = f"pip install rivet-{name}; " if _TYPE_NAME.fullmatch(name) else ""
    return MissingPlugin(
        f"no installed plugin provides {what}", hint=f"{guess}{install}installed: {', '.join(known) or 'none'}"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
