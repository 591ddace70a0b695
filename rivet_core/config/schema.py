"""One JSON Schema of ``rivet.yaml`` for everything that is installed, as editors use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import AuthResolverSpec, DestinationSpec, FormatSpec, RivetError, SourceSpec
from rivet_core.config.auth import resolver_fields, usable_resolvers
from rivet_core.config.sections import RivetSection
from rivet_core.config.validation import load_model

if TYPE_CHECKING:
    from rivet_core.plugins import Registry

Schema = dict[str, Any]
#: What ``${VAR}`` looks like where a number, a boolean or one of a few words is expected.
_REFERENCE: Final = {"type": "string", "pattern": r"\$\{[^}]+\}"}
_ANNOTATIONS: Final = ("title", "description", "default")
#: JSON types that the text ``${VAR}`` is not one of.
_NARROW: Final = ("integer", "number", "boolean", "null")


def config_json_schema(registry: Registry) -> Schema:
    """Return a JSON Schema (2020-12) that validates and completes ``rivet.yaml``.

    Sections of plugins are told apart by their ``type``. ``${VAR}`` is valid wherever the loader reads it, but for
    ``type`` and ``format``, which decide what else is valid.
    """
    schema = RivetSection.model_json_schema()
    definitions: Schema = schema.setdefault("$defs", {})
    export = definitions["ExportSection"]["properties"]
    sources = {
        name: _section(
            registry, spec, f"source-{name}", definitions, hidden=set() if spec.type == name else {"dialect"}
        )
        for name, spec in sorted(registry.sources.items())
    }
    formats = {
        name: _section(registry, spec, f"format-{name}", definitions) for name, spec in sorted(registry.formats.items())
    }
    destinations = {
        name: _destination(registry, spec, definitions) for name, spec in sorted(registry.destinations.items())
    }
    schema["properties"]["source"] = _by_type(schema["properties"]["source"], sources)
    export["destination"] = _by_type(export["destination"], destinations)
    short = {"type": "string", "enum": sorted(formats), "description": "The format's name."}
    export["format"] = _by_type(export["format"], formats, short) | {"default": "parquet"}
    export["compression"] = _compression(export["compression"], formats)
    definitions["ExportSection"]["oneOf"] = [{"required": [name]} for name in ("table", "query", "query_file")]
    _allow_references(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "rivet.yaml",
        "description": "Configuration of Rivet, for the plugins that are installed here.",
    }


def _section(
    registry: Registry,
    spec: DestinationSpec | FormatSpec | SourceSpec,
    name: str,
    definitions: Schema,
    *,
    hidden: Iterable[str] = (),
) -> Schema:
    """Return the schema of a plugin's section; anything goes where its model cannot be loaded."""
    type_ = name.partition("-")[2]
    type_field = {"const": type_, "type": "string", "description": spec.summary}
    try:
        model = load_model(registry, spec)
    except RivetError as error:
        return {
            "type": "object",
            "description": error.message,
            "properties": {"type": type_field},
            "required": ["type"],
        }
    schema = model.model_json_schema(ref_template=f"#/$defs/{name}-{{model}}")
    for inner, definition in schema.pop("$defs", {}).items():
        definitions[f"{name}-{inner}"] = definition
    properties = {field: inner for field, inner in schema.get("properties", {}).items() if field not in hidden}
    return {
        **schema,
        "description": spec.summary,
        "properties": {"type": type_field, **properties},
        "required": ["type", *schema.get("required", [])],
    }


def _destination(registry: Registry, spec: DestinationSpec, definitions: Schema) -> Schema:
    """Return the schema of a destination's section together with the fields of its auth resolvers."""
    schema = _section(registry, spec, f"destination-{spec.type}", definitions)
    resolvers = usable_resolvers(registry, spec)
    if not resolvers:
        return schema
    login = {name: _login_field(name, resolvers) for resolver in resolvers for name in resolver_fields(resolver)}
    auth = {
        "type": "object",
        "description": "Selects an auth resolver by its name; its fields stand beside it.",
        "properties": {
            "resolver": {
                "enum": sorted(resolver.name for resolver in resolvers),
                "description": "Name of the auth resolver.",
            },
            **login,
        },
        "required": ["resolver"],
        "additionalProperties": False,
    }
    schema["properties"] = {**schema["properties"], **(login | schema["properties"]), "auth": auth}
    return schema


def _login_field(name: str, resolvers: Iterable[AuthResolverSpec]) -> Schema:
    uses = [f"{resolver.summary} ({resolver.name})" for resolver in resolvers if name in resolver_fields(resolver)]
    return {"type": ["string", "boolean"], "description": "; ".join(uses)}


def _by_type(field: Mapping[str, Any], sections: Mapping[str, Schema], *others: Schema) -> Schema:
    """Return a field that is one of ``sections``; without ``oneOf`` where there is no choice."""
    choices = [*others, *sections.values()]
    return {"description": field["description"], **({"oneOf": choices} if choices else {"not": {}})}


def _compression(field: Mapping[str, Any], formats: Mapping[str, Schema]) -> Schema:
    """Return the field ``compression``, with the codecs of all formats together."""
    own = [schema.get("properties", {}).get("compression", {}) for schema in formats.values()]
    codecs = sorted({codec for schema in own for codec in schema.get("enum", [schema.get("const")]) if codec})
    words = {"enum": codecs} if codecs else {}
    return {"type": "string", **words, "description": field["description"]}


def _allow_references(schema: Any) -> None:
    """Let ``${VAR}`` stand for every number, boolean and enumerated word in ``schema``, in place."""
    if isinstance(schema, list):
        for item in schema:
            _allow_references(item)
    if not isinstance(schema, dict):
        return
    for name, inner in schema.items():
        if name == "properties":
            for field, value in inner.items():
                # `type` decides which of several schemas is meant, so it stays as it is.
                if field != "type":
                    inner[field] = _with_reference(value)
        _allow_references(inner)


def _with_reference(field: Schema) -> Schema:
    choices = field.get("anyOf", [{name: value for name, value in field.items() if name not in _ANNOTATIONS}])
    if not all(choice.get("type") in _NARROW or choice.keys() & {"enum", "const", "pattern"} for choice in choices):
        return field
    return {**{name: field[name] for name in _ANNOTATIONS if name in field}, "anyOf": [*choices, _REFERENCE]}
