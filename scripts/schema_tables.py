"""Renders JSON Schemas of objects as Markdown tables of their fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

EMPTY_TEXT: Final = '""'
ESCAPED_BAR: Final = r"\|"


def fields_table(schema: Schema, definitions: Schema, *, with_default: bool = True) -> Iterator[str]:
    """Yield one Markdown table of an object's fields; the fields of a plain mapping inside it are rows of their own."""
    rows = list(field_rows(schema, definitions))
    if not rows:
        yield "\nNo other fields.\n"
        return
    yield "\n"
    if with_default:
        yield from table(["field", "value", "default", "meaning"], rows)
    else:
        yield from table(["field", "value", "meaning"], [(name, value, text) for name, value, _, text in rows])


def field_rows(schema: Schema, definitions: Schema, parent: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield name, value, default and meaning of each field."""
    for name, field in schema.get("properties", {}).items():
        required = name in schema.get("required", [])
        kind = shown_type(field, definitions)
        default = "required" if required else shown_default(field, is_size=kind == "size")
        yield f"`{parent}{name}`", kind, default, plain(description(field, definitions))
        inner = inline_section(field, definitions)
        if inner is not None:
            yield from field_rows(inner, definitions, f"{parent}{name}.")


def description(field: Schema, definitions: Schema) -> str:
    """Return what a field means; one without words of its own means what its section does."""
    section: Schema = definitions.get(field.get("$ref", "").rpartition("/")[2], {})
    return str(field.get("description", section.get("description", "")))


def inline_section(field: Schema, definitions: Schema) -> Schema | None:
    """Return the mapping that belongs to a plugin's own section; those of the core have a heading of their own."""
    for choice in [field, *field.get("anyOf", []), *field.get("allOf", [])]:
        name = choice.get("$ref", "").rpartition("/")[2]
        if "-" in name and definitions[name].get("type") == "object":
            found: Schema = definitions[name]
            return found
    return None


def shown_type(field: Schema, definitions: Schema) -> str:
    """Return what a field may hold, for people."""
    return " or ".join(dict.fromkeys(type_words(field, definitions)))


def type_words(field: Schema, definitions: Schema) -> Iterator[str]:
    """Yield each kind of value that a field may hold; ``${VAR}`` goes everywhere and is not repeated."""
    if "$ref" in field:
        yield from type_words(definitions[field["$ref"].rpartition("/")[2]], definitions)
    elif "properties" in field:
        yield "mapping"
    elif "anyOf" in field or "oneOf" in field:
        choices = [choice for choice in field.get("anyOf", field.get("oneOf")) if choice.get("type") != "null"]
        if any("KMGT" in choice.get("pattern", "") for choice in choices):
            yield "size"
            return
        for choice in choices:
            if choice.get("pattern") != r"\$\{[^}]+\}":
                yield from type_words(choice, definitions)
    elif "const" in field:
        yield f"`{field['const']}`"
    elif "enum" in field:
        yield ", ".join(f"`{word or EMPTY_TEXT}`" for word in field["enum"] if word is not None)
    elif field.get("type") == "array":
        yield f"list of {shown_type(field['items'], definitions)}" if "items" in field else "list"
    elif isinstance(field.get("additionalProperties"), dict):
        yield f"mapping of {shown_type(field['additionalProperties'], definitions)}"
    else:
        words = {"object": "mapping", "string": "text"}
        kinds = field.get("type", "any")
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            yield words.get(kind, kind)


def shown_default(field: Schema, *, is_size: bool) -> str:
    """Return a field's default, empty where it is nothing in particular."""
    value = field.get("default")
    if is_size and value is not None:
        return f"`{value // 1_000_000}MB`"
    return "" if value is None or value == "" or isinstance(value, dict | list) else f"`{str(value).lower()}`"


def plain(text: str) -> str:
    """Return a description as Markdown on one line."""
    return re.sub(r"`+", "`", " ".join(text.split()))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    heads = list(columns)
    yield f"| {' | '.join(heads)} |\n"
    yield f"|{'---|' * len(heads)}\n"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', ESCAPED_BAR) for cell in row)} |\n"
