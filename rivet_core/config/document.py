"""YAML text to plain data that remembers where every value stands.

The YAML is composed by PyYAML's safe loader and read from its nodes, so nothing in a file can construct an object.
Mapping keys are always text (a column may be called ``on``), scalars are null, booleans, integers, floats or text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from rivet_core.config.environment import interpolate
from rivet_core.config.problems import FieldPath, Position, ProblemCollector

#: A file or a query file above this size is refused.
MAX_BYTES: Final = 1_000_000
# Aliases can make a small file stand for an endless document; no sensible configuration comes near this.
_MAX_VALUES: Final = 100_000
_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = _TAG + "merge"
_TAG_MESSAGE: Final = "YAML tags (!name) mean nothing here"
_TAG_HINT: Final = "put a text that starts with ! in quotes"
_FLOW_HINT: Final = "inside { } and [ ] put values that contain any of , { } [ ] in quotes"
#: Part of PyYAML's message, ours where theirs is cryptic or repeats the file's text, and the hint.
_SYNTAX: Final = (
    ("undefined alias", "an alias (*name) without its anchor", "put a text that starts with * in quotes"),
    ("duplicate anchor", "an anchor (&name) is given twice", "put a text that starts with & in quotes"),
    ("expected a single document", "more than one YAML document", "keep one; remove the line ---"),
    ("undefined tag handle", _TAG_MESSAGE, _TAG_HINT),
    ("'\\t'", "", "YAML is indented with spaces, not with tabs"),
    ("flow", "", _FLOW_HINT),
    ("mapping values", "", "put a value that contains a colon and a space in quotes"),
)

_constructor = yaml.constructor.SafeConstructor()
_SCALARS: Final[Mapping[str, Callable[[yaml.ScalarNode], object]]] = {
    _TAG + "null": lambda node: None,
    _TAG + "bool": _constructor.construct_yaml_bool,
    _TAG + "int": _constructor.construct_yaml_int,
    _TAG + "float": _constructor.construct_yaml_float,
    # No field holds a date; `<<` and `=` have a meaning as keys only.
    **dict.fromkeys((_TAG + "str", _TAG + "timestamp", _MERGE, _TAG + "value"), lambda node: node.value),
}


@dataclass(frozen=True)
class Document:
    """A YAML document as plain data.

    Attributes:
        data: what the document says; ``None`` for an empty one.
        positions: where each value is written: its key in a mapping, itself in a sequence.
        unresolved: values that name an undefined environment variable; their content means nothing.
    """

    data: object
    positions: Mapping[FieldPath, Position]
    unresolved: frozenset[FieldPath]

    def position(self, path: FieldPath) -> Position | None:
        """Return where ``path`` is written, or the nearest thing around it that is."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path)

    def is_unresolved(self, path: FieldPath) -> bool:
        """Whether ``path`` is, or is inside, a value that could not be interpolated."""
        return any(path[:length] in self.unresolved for length in range(1, len(path) + 1))

    def holds_unresolved(self, path: FieldPath) -> bool:
        """Whether a value that could not be interpolated is at ``path``, around it or inside it."""
        return self.is_unresolved(path) or any(inner[: len(path)] == path for inner in self.unresolved)


def read_document(
    text: str, problems: ProblemCollector, *, environ: Mapping[str, str], is_verbatim: Callable[[FieldPath], bool]
) -> Document:
    """Parse ``text``, interpolate ``${VAR}`` in its scalars and record what is wrong.

    Args:
        text: one YAML document of at most ``MAX_BYTES``.
        problems: receives duplicate keys, undefined variables, unknown tags, endless aliases.
        environ: what ``${VAR}`` is looked up in.
        is_verbatim: tells the values in which ``${…}`` means itself.

    Raises:
        ConfigProblems: the text is no YAML, so nothing else can be said about it.
    """
    try:
        root = yaml.SafeLoader(text).get_single_node()
    except yaml.YAMLError as error:
        message, hint, position = _explain(error, text)
        problems.add(message, position=position, hint=hint)
        raise problems.error() from None
    except RecursionError:
        problems.add("the YAML is nested too deeply", hint="a configuration needs no more than six levels")
        raise problems.error() from None
    reader = _Reader(text, problems, environ, is_verbatim)
    data = None if root is None else reader.read(root, ())
    return Document(data, reader.positions, frozenset(reader.unresolved))


class _Reader:
    """Reads composed nodes into plain data."""

    def __init__(
        self,
        text: str,
        problems: ProblemCollector,
        environ: Mapping[str, str],
        is_verbatim: Callable[[FieldPath], bool],
    ) -> None:
        self.positions: dict[FieldPath, Position] = {}
        self.unresolved: set[FieldPath] = set()
        self._text = text
        self._problems = problems
        self._environ = environ
        self._is_verbatim = is_verbatim
        self._values = 0
        self._open: set[int] = set()

    def read(self, node: yaml.Node, path: FieldPath) -> object:
        """Return what ``node`` says; ``path`` is where it stands."""
        position = self.positions.setdefault(path, _position(node.start_mark))
        self._count()
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._problems.add("an alias contains itself", position=position, path=path, hint="write the value out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
                return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, path)
        finally:
            self._open.discard(id(node))
        self._refuse_tag(position, path)
        return None

    def _count(self) -> None:
        self._values += 1
        if self._values > _MAX_VALUES:
            self._problems.add("the aliases of this file expand to too many values", hint="write fewer aliases")
            raise self._problems.error()

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, value in self._entries(node, path).values():
            # Before `read`, which leaves it: a mapping's value is found at its key.
            self.positions[(*path, key.value)] = _position(key.start_mark)
            values[key.value] = self.read(value, (*path, key.value))
        return values

    def _entries(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, tuple[yaml.ScalarNode, yaml.Node]]:
        """Return the key and value nodes by key, merge keys (``<<``) resolved: own keys win, then earlier merges."""
        own: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        for key, value in self._rejoined(node):
            self._count()
            position = _position(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                self._problems.add("a key must be text", position=position, path=path, hint=_FLOW_HINT)
            elif key.tag == _MERGE:
                for name, entry in self._merged(value, path).items():
                    merged.setdefault(name, entry)
            elif key.value in own:
                first = own[key.value][0].start_mark.line + 1
                self._problems.add(
                    f"is given twice, on line {first} and on line {position.line}",
                    position=position,
                    path=(*path, key.value),
                    hint="keep one of them",
                )
            else:
                own[key.value] = (key, value)
        return own | {name: entry for name, entry in merged.items() if name not in own}

    def _merged(self, node: yaml.Node, path: FieldPath) -> dict[str, tuple[yaml.ScalarNode, yaml.Node]]:
        merged: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._problems.add("<< takes a mapping", position=_position(source.start_mark), path=path)
                continue
            self._open.add(id(source))
            for name, entry in self._entries(source, path).items():
                merged.setdefault(name, entry)
            self._open.discard(id(source))
        return merged

    def _rejoined(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield the entries of a mapping, with ``{amount: decimal(18,2)}`` read the way it is meant.

        In flow style YAML ends an unquoted value at a comma and takes ``2)`` for the next key, without a value.
        """
        entries = list(node.value)
        while entries:
            key, value = entries.pop(0)
            while node.flow_style and entries and _is_cut_off(value) and _is_remainder(*entries[0]):
                rest, _ = entries.pop(0)
                text = self._text[value.start_mark.index : rest.end_mark.index]
                value = yaml.ScalarNode(value.tag, text, value.start_mark, rest.end_mark)
            yield key, value

    def _scalar(self, node: yaml.ScalarNode, path: FieldPath) -> object:
        text: str = node.value
        if "${" in text and not self._is_verbatim(path):
            # Stays text, so a password of digits is not taken for a number; the models read numbers from text.
            text, complaints = interpolate(text, self._environ)
            for message, hint in complaints:
                self._problems.add(message, position=_position(node.start_mark), path=path, hint=hint)
                self.unresolved.add(path)
            return text
        construct = _SCALARS.get(node.tag)
        if construct is None:
            self._refuse_tag(_position(node.start_mark), path)
            return None
        try:
            return construct(node)
        except (ValueError, KeyError):
            return text  # `!!int x`, or more digits than Python converts: the field's model says what it wants

    def _refuse_tag(self, position: Position, path: FieldPath) -> None:
        self._problems.add(_TAG_MESSAGE, position=position, path=path, hint=_TAG_HINT)


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _is_cut_off(value: yaml.Node) -> bool:
    """Whether an unquoted value has brackets that it does not close."""
    if not isinstance(value, yaml.ScalarNode) or value.style is not None:
        return False
    text = value.value
    return bool(text.count("(") > text.count(")") or text.count("<") > text.count(">"))


def _is_remainder(key: yaml.Node, value: yaml.Node) -> bool:
    """Whether an entry is an unquoted key without a value."""
    return isinstance(key, yaml.ScalarNode) and key.style is None and value.value == ""


def _explain(error: yaml.YAMLError, text: str) -> tuple[str, str, Position | None]:
    """Return message, hint and place of a YAML error without repeating the file's text, which may hold a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        return "a control character that YAML does not allow", "delete it, or write it as an escape in quotes", position
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "no valid YAML", "check the indentation and the quotes", None
    position = _position(error.problem_mark)
    said = f"{error.context} {error.problem}"
    line = "".join(text.splitlines()[position.line - 1 : position.line])
    otherwise = "", _FLOW_HINT if "{" in line else "check the indentation and the quotes around here"
    message, hint = next(((ours, hint) for needle, ours, hint in _SYNTAX if needle in said), otherwise)
    if not message:
        message = f"no valid YAML: {error.problem}"
        if error.context and error.context_mark:
            message += f" ({error.context} that starts on line {error.context_mark.line + 1})"
    return message, hint, position
