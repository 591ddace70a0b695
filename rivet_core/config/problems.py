"""Everything that is wrong with a configuration file, collected so that it is reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from rivet_core.api import ConfigError, RivetError, redact

#: Where a value is in the document: ``("exports", 0, "format")``.
FieldPath = tuple[str | int, ...]


class Position(NamedTuple):
    """A place in a text file, both numbers counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: the configuration file as the user named it.
        line: counted from 1; ``None`` where the whole file is meant.
        column: counted from 1; ``None`` where the whole file is meant.
        field: such as ``exports[0].format``; empty where no field is meant.
        message: what is wrong, without secrets.
        hint: what to do about it; may be empty.
    """

    file: str
    line: int | None
    column: int | None
    field: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.field, self.message) if part)


class ConfigProblems(ConfigError):
    """The configuration is wrong in at least one way; ``problems`` has all of them in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
        if len(self.problems) == 1:
            super().__init__(str(self.problems[0]), hint=self.problems[0].hint)
            return
        lines = [f"the configuration has {len(self.problems)} problems"]
        for problem in self.problems:
            lines.append(f"  {problem}")
            if problem.hint:
                lines.append(f"    hint: {problem.hint}")
        super().__init__("\n".join(lines))


class ProblemCollector:
    """Collects the problems of one file."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: dict[Problem, None] = {}

    def add(self, message: str, *, position: Position | None = None, path: FieldPath = (), hint: str = "") -> None:
        """Record one problem; an exact repetition (the same anchor used twice) is recorded once."""
        line, column = position or (None, None)
        problem = Problem(self._file, line, column, field_name(path), redact(message), redact(hint))
        self._problems.setdefault(problem)

    def add_error(self, error: RivetError, *, position: Position | None, path: FieldPath) -> None:
        """Record the message and the hint of an error."""
        self.add(error.message, position=position, path=path, hint=error.hint)

    def __bool__(self) -> bool:
        return bool(self._problems)

    def error(self) -> ConfigProblems:
        """Return the error that holds everything recorded so far."""
        # Redacted once more: a credential may have become known after a problem was recorded.
        return ConfigProblems(
            replace(problem, message=redact(problem.message), hint=redact(problem.hint)) for problem in self._problems
        )


def field_name(path: FieldPath) -> str:
    """Return a path the way users write it.

    >>> field_name(("exports", 0, "format"))
    'exports[0].format'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` for the known word closest to ``word``, or an empty string.

    >>> did_you_mean("compresion", ["compression", "columns"])
    'did you mean "compression"?'
    """
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f'did you mean "{close[0]}"?' if close else ""
