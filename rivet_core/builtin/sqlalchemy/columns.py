"""Decides the Arrow type of every result column: the engine's mapping, the user's overrides and policies."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
from pyarrow import types as at

from rivet_core.api import ConfigError, QueryError, ReadOptions, SourceColumn, TypeMappingError
from rivet_core.contract.types import parse_type, type_name

if TYPE_CHECKING:
    from rivet_core.api import Fidelity
    from rivet_core.builtin.sqlalchemy.text import Decoder

#: The largest decimal that Arrow has.
MAX_DECIMAL_DIGITS: Final = 76

#: A column whose values cannot be longer is not looked at row by row, unless ``max_value_bytes`` is smaller still.
SHORT_BYTES: Final = 4096
#: Why text is refused that no text column can hold.
NO_UTF8: Final = "is no valid UTF-8 text"
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# YAML 1.1 reads these as something else than text.
_YAML_WORDS: Final = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null"])


@dataclass(frozen=True)
class ResultColumn:
    """One column as the engine describes it, before the user's wishes.

    Attributes:
        name: the result's own.
        source_type: the engine's name of the type.
        type: the Arrow type that it maps to; ``None`` where none keeps every value.
        nullable: whether NULL can occur.
        fidelity: what the mapping promises.
        problem: why the column is refused unless an override says what it shall be.
        remedy: the override to suggest.
        numeric: ``value`` or ``array`` for a numeric without precision, which follows ``types.unbounded_numeric``.
        short: no value is longer than ``SHORT_BYTES``.
    """

    name: str
    source_type: str
    type: pa.DataType | None
    nullable: bool = True
    fidelity: Fidelity = "exact"
    problem: str = ""
    remedy: str = "string"
    numeric: Literal["", "value", "array"] = ""
    short: bool = False


@dataclass(frozen=True)
class Reader:
    """How one column is read: what it becomes, its decoder, and whether its values may be large."""

    column: SourceColumn
    decode: Decoder
    wide: bool


#: Returns the decoder of a column to a type, or ``None`` where that would lose something; the flag says that the user
#: asked for the type, by an override or a policy.
MakeDecoder = Callable[[ResultColumn, pa.DataType, bool], "Decoder | None"]


def readers(columns: Sequence[ResultColumn], options: ReadOptions, make_decoder: MakeDecoder) -> list[Reader]:
    """Return a reader for every column.

    Raises:
        QueryError: no columns, or two of one name.
        ConfigError: an override names no column, or asks for a type that cannot keep the values.
        TypeMappingError: columns without a lossless type; names all of them.
    """
    _check_names([column.name for column in columns], options.columns)
    resolved: list[Reader] = []
    refused: list[ResultColumn] = []
    for column in columns:
        override = options.columns.get(column.name)
        target, fidelity = _target(column, override, options.unbounded_numeric)
        if target is None:
            refused.append(column)
            continue
        decode = make_decoder(column, target, override is not None or column.type is None)
        if decode is None:
            natural = f" ({type_name(column.type)})" if column.type is not None else ""
            raise ConfigError(
                f"column {column.name!r} is {column.source_type}{natural} and cannot become {type_name(target)} "
                "without loss",
                hint="string always works; numbers may become wider ones; see the table of types in the documentation",
            )
        exported = SourceColumn(column.name, target, column.source_type, column.nullable, fidelity)
        resolved.append(Reader(exported, decode, is_wide(column, options)))
    if refused:
        raise _mapping_error(refused)
    return resolved


def _check_names(names: Sequence[str], overrides: Mapping[str, pa.DataType]) -> None:
    if not names:
        raise QueryError("the query has no columns", hint="select at least one")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise duplicate_columns(twice)
    for name in overrides:
        if name not in names:
            similar = get_close_matches(name, names, n=1)
            raise ConfigError(
                f"columns: names {name!r}, but the result has no such column",
                hint=f"did you mean {similar[0]!r}?" if similar else f"it has {', '.join(map(repr, names))}",
            )


def duplicate_columns(names: Sequence[str]) -> QueryError:
    """Return the error for columns of one name."""
    return QueryError(
        f"the query has more than one column named {', '.join(map(repr, names))}",
        hint="give each its own name with AS",
    )


def _target(column: ResultColumn, override: pa.DataType | None, policy: str) -> tuple[pa.DataType | None, Fidelity]:
    if override is not None:
        if override == column.type:
            return override, column.fidelity
        return override, "text" if at.is_string(override) else "checked"
    if column.numeric and policy != "error":
        item = parse_type(policy)
        fidelity: Fidelity = "text" if at.is_string(item) else "checked"
        return (pa.list_(item) if column.numeric == "array" else item), fidelity
    return (None if column.problem else column.type), column.fidelity


def is_wide(column: ResultColumn, options: ReadOptions) -> bool:
    """Whether values of a column may be large."""
    if column.short and options.max_value_bytes >= SHORT_BYTES:
        return False
    type_ = column.type
    if type_ is None:
        return True
    return bool(at.is_string(type_) or at.is_binary(type_) or at.is_nested(type_) or isinstance(type_, pa.JsonType))


def _mapping_error(columns: Sequence[ResultColumn]) -> TypeMappingError:
    reasons = "; ".join(f"{column.name!r} ({column.source_type or 'no type'}) {column.problem}" for column in columns)
    block = "\n".join(f"  {_yaml_key(column.name)}: {column.remedy}" for column in columns)
    policy = "\nor set types: {unbounded_numeric: string}" if any(column.numeric for column in columns) else ""
    count = f"{len(columns)} columns have" if len(columns) > 1 else "one column has"
    return TypeMappingError(
        f"{count} no lossless type: {reasons}",
        hint=f"add to the export, with the types that you want:\ncolumns:\n{block}{policy}",
        overrides={column.name: column.remedy for column in columns},
    )


def _yaml_key(name: str) -> str:
    if _PLAIN_KEY.fullmatch(name) and name.lower() not in _YAML_WORDS:
        return name
    return json.dumps(name, ensure_ascii=False)


def refusal_hint(name: str, reason: str) -> str:
    """Return what to do about a value that is refused for a reason."""
    return "correct the value, or select the column as binary data" if reason == NO_UTF8 else override_hint(name)


def override_hint(name: str) -> str:
    """Return the hint to export a column as text."""
    return f"correct the value, or export the column as text: columns: {{{_yaml_key(name)}: string}}"
