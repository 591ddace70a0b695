"""The frozen dataclasses that hooks return. Import strings are resolved on first use: ``package.module:name``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rivet_core.api.destination import Capabilities

#: The version of the plugin interface. A spec with another one is shown as incompatible and not used.
API_VERSION = 1


@dataclass(frozen=True)
class DestinationSpec:
    """A destination.

    Attributes:
        type: what ``destination.type`` says in the configuration.
        kind: ``store`` (a ``Destination``) or ``stream`` (a ``StreamDestination``).
        summary: one line for ``rivet plugins list``.
        config: import string of the pydantic model of its fields (without ``type``).
        factory: import string of ``(config, DestinationContext) -> Destination | StreamDestination``.
        capabilities: the guarantees it gives.
        accepts: kinds of ``Credential`` that it can use; empty for a destination without credentials.
        template: the field of ``config`` that holds the prefix template with placeholders.
        place: the fields of ``config`` that say, beside ``template``, where the prefix is (bucket, endpoint); empty
            for all of them. Two exports at one place need different prefixes.
        api: the plugin interface it was written for.
    """

    type: str
    kind: Literal["store", "stream"]
    summary: str
    config: str
    factory: str
    capabilities: Capabilities = field(default_factory=Capabilities)
    accepts: frozenset[str] = frozenset()
    template: str = "prefix"
    place: frozenset[str] = frozenset()
    api: int = API_VERSION


@dataclass(frozen=True)
class FormatSpec:
    """A file format.

    Attributes:
        name: what ``format`` says in the configuration.
        suffix: file name suffix of a part, without the dot.
        media_type: for stores that record one.
        summary: one line for ``rivet plugins list``.
        config: import string of the pydantic model of its options; has a field ``compression``.
        factory: import string of ``(config) -> Format``.
        fallback: it serves only while no installed plugin claims the name.
        api: the plugin interface it was written for.
    """

    name: str
    suffix: str
    media_type: str
    summary: str
    config: str
    factory: str
    fallback: bool = False
    api: int = API_VERSION


@dataclass(frozen=True)
class SourceSpec:
    """A source.

    Attributes:
        type: what ``source.type`` says in the configuration.
        summary: one line for ``rivet plugins list``.
        config: import string of the pydantic model of its fields (without ``type``).
        factory: import string of ``(config, SourceContext) -> Source``.
        fallback_for: further types that it serves while no installed plugin claims them, each with the values that
            its factory gets as ``config.dialect``.
        api: the plugin interface it was written for.
    """

    type: str
    summary: str
    config: str
    factory: str
    fallback_for: Mapping[str, str] = field(default_factory=dict)
    api: int = API_VERSION


@dataclass(frozen=True)
class AuthResolverSpec:
    """A way to get a credential for some destinations, selected by the fields that a configuration sets.

    Attributes:
        name: what ``auth.resolver`` says in the configuration.
        destinations: destination types that it serves.
        summary: one line for ``rivet plugins list``.
        selects_on: fields whose presence selects it; the fields of two resolvers in one configuration are refused.
        requires: fields that must be there with them.
        optional: fields that may be there.
        files: those of its fields that name a file; the factory gets absolute paths.
        produces: kind of ``Credential``, or ``native``.
        factory: import string of ``(fields: Mapping[str, object], destination_type: str) -> Provider | NativeAuth``.
        default: used where no resolver's fields are present.
        api: the plugin interface it was written for.
    """

    name: str
    destinations: frozenset[str]
    summary: str
    selects_on: frozenset[str]
    produces: str
    factory: str
    requires: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    default: bool = False
    api: int = API_VERSION
