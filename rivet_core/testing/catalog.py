"""What a conformance test proves: its id, what breaks for users without it, and where to look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])
_ATTRIBUTE = "__rivet_case__"


@dataclass(frozen=True)
class Case:
    """One conformance test.

    Attributes:
        id: stable name, such as ``D-PUT-3``; reports, exclusions and expected failures use it.
        breaks: one line on what breaks for users when it fails.
        hint: where an author finds the cause.
        capability: field of ``Capabilities`` that it proves; ``None`` for what every plugin must do.
    """

    id: str
    breaks: str
    hint: str
    capability: str | None = None


def proves(id: str, *, breaks: str, hint: str, capability: str | None = None) -> Callable[[Test], Test]:  # noqa: A002
    """Mark a test method of a suite as a conformance test. See ``Case`` for the arguments."""

    def mark(test: Test) -> Test:
        setattr(test, _ATTRIBUTE, Case(id, breaks, hint, capability))
        return test

    return mark


def case_of(test: object) -> Case | None:
    """Return what a test method proves, or ``None`` if it is none of the kit's."""
    case = getattr(test, _ATTRIBUTE, None)
    return case if isinstance(case, Case) else None


def cases_of(suite: type) -> dict[str, Case]:
    """Return every conformance test of a suite's class by the name of its method, inherited ones included."""
    found = {name: case_of(getattr(suite, name, None)) for name in dir(suite) if name.startswith("test_")}
    return {name: case for name, case in found.items() if case is not None}
