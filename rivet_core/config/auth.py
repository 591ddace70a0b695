"""How a destination's section selects the auth resolver that gets its credentials."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from rivet_core.api import AuthResolverSpec, ConfigError, DestinationSpec
from rivet_core.config.model import AuthChoice
from rivet_core.config.problems import did_you_mean

if TYPE_CHECKING:
    from rivet_core.plugins import Registry


def usable_resolvers(registry: Registry, spec: DestinationSpec) -> tuple[AuthResolverSpec, ...]:
    """Return the resolvers that serve this destination with a kind of credential that it accepts."""
    return tuple(
        resolver
        for resolver in registry.auth_resolvers(spec.type)
        if resolver.produces == "native" or resolver.produces in spec.accepts
    )


def resolver_fields(resolver: AuthResolverSpec) -> frozenset[str]:
    """Return every field that a resolver reads."""
    return resolver.selects_on | resolver.requires | resolver.optional


def choose_auth(
    spec: DestinationSpec,
    resolvers: Iterable[AuthResolverSpec],
    section: Mapping[str, object],
    model_fields: Collection[str],
) -> AuthChoice | None:
    """Return the resolver that a destination's section selects, with its fields; ``None`` if it needs none.

    ``auth: {resolver: NAME, …}`` selects one by its name; else the one whose ``selects_on`` fields are there; else
    the destination's default.

    Args:
        section: the destination's whole section.
        model_fields: fields of the destination's own model, which resolvers may share.

    Raises:
        ConfigError: two resolvers are selected, or none can be; a field is missing; a field belongs to no selected
            resolver.
    """
    known = {resolver.name: resolver for resolver in resolvers}
    if not known:
        return None
    fields = {name: value for name, value in section.items() if _is_set(value)}
    selected = {
        name: sorted(fields.keys() & resolver.selects_on)
        for name, resolver in known.items()
        if fields.keys() & resolver.selects_on
    }
    if "auth" in fields:
        chosen, explicit = _named(known, fields.pop("auth"))
        fields |= explicit
        selected.setdefault(chosen.name, ["auth.resolver"])
    else:
        chosen = _implied(spec, known, selected)
    if len(selected) > 1:
        ways = " and ".join(f"{', '.join(found)} ({name})" for name, found in selected.items())
        raise ConfigError(f"two ways to authenticate at once: {ways}", hint="keep the fields of one of them")
    own = resolver_fields(chosen)
    strays = fields.keys() & frozenset().union(*map(resolver_fields, known.values())) - own - frozenset(model_fields)
    if strays:
        raise ConfigError(
            f"{', '.join(sorted(strays))} means nothing to the auth resolver {chosen.name}, which is selected here",
            hint=f"its fields: {', '.join(sorted(own)) or 'none'}",
        )
    given = {name: value for name, value in fields.items() if name in own}
    missing = sorted(chosen.requires - given.keys())
    if not missing and chosen.selects_on and not chosen.default and not chosen.selects_on & given.keys():
        missing = [" or ".join(sorted(chosen.selects_on))]
    if missing:
        raise ConfigError(f"the auth resolver {chosen.name} needs {', '.join(missing)}", hint="set what is missing")
    return AuthChoice(chosen, given)


def _implied(
    spec: DestinationSpec, known: Mapping[str, AuthResolverSpec], selected: Mapping[str, list[str]]
) -> AuthResolverSpec:
    """Return the resolver that is selected by its fields, or the default."""
    if selected:
        return known[next(iter(selected))]
    default = next((resolver for resolver in known.values() if resolver.default), None)
    if default is None:
        ways = "; ".join(f"{', '.join(sorted(item.selects_on))} ({name})" for name, item in known.items())
        raise ConfigError(f"type {spec.type} needs credentials", hint=f"set the fields of one of: {ways}")
    return default


def _named(known: Mapping[str, AuthResolverSpec], explicit: object) -> tuple[AuthResolverSpec, dict[str, object]]:
    """Return the resolver that ``auth: {resolver: NAME, …}`` names, and the fields beside its name."""
    names = f"resolvers: {', '.join(sorted(known))}"
    if not isinstance(explicit, dict) or not isinstance(explicit.get("resolver"), str):
        raise ConfigError("auth must be a mapping with the field resolver", hint=names)
    name = explicit["resolver"]
    if name not in known:
        hint = " ".join(part for part in (did_you_mean(name, known), names) if part)
        raise ConfigError(f"no installed plugin provides the auth resolver {name!r} here", hint=hint)
    fields = {field: value for field, value in explicit.items() if field != "resolver" and _is_set(value)}
    unknown = fields.keys() - resolver_fields(known[name])
    if unknown:
        allowed = ", ".join(sorted(resolver_fields(known[name]))) or "none"
        raise ConfigError(
            f"the auth resolver {name} does not know {', '.join(sorted(unknown))}", hint=f"its fields: {allowed}"
        )
    return known[name], fields


def _is_set(value: object) -> bool:
    """Whether a field says something; ``allow_anonymous: false`` is as good as leaving it out."""
    return value is not None and value is not False
