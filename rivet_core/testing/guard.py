"""Finds what makes a suite prove less than it says: tests and fixtures of the kit that are deleted or overridden."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from rivet_core.testing.catalog import Case, case_of

if TYPE_CHECKING:
    from rivet_core.testing.suite import Suite

#: The guard's own entry in every report.
GUARD = Case(
    "G-SUITE-1",
    breaks="a reader of the report would believe in tests that have not run",
    hint="give each test back its place, or list its id in `excluded` with the reason; tests of your own go into "
    "another class",
)
_KIT = "rivet_core.testing."
#: What an author is asked to define.
_AUTHORS = frozenset({"harness"})


def inherited_cases(suite: type[Suite]) -> list[Case]:
    """Return all the tests that a suite inherits from the kit, the deleted and overridden ones included."""
    return sorted(_inherited(suite).values(), key=lambda case: case.id)


def unknown_ids(ids: Collection[str], suite: type[Suite]) -> list[str]:
    """Return the ids that no test of the suite has."""
    return sorted(set(ids).difference(case.id for case in inherited_cases(suite)))


def problems_of(suite: type[Suite]) -> list[str]:
    """Return why a suite cannot be believed, one sentence each; empty if it can."""
    return [*_replaced_tests(suite), *_replaced_helpers(suite), *_bad_exceptions(suite)]


def _replaced_tests(suite: type[Suite]) -> Iterator[str]:
    for name, case in sorted(_inherited(suite).items(), key=lambda found: found[1].id):
        by = _owner(suite, name)
        if not _is_kit(by) and case.id not in suite.excluded:
            what = "overridden" if callable(vars(by)[name]) else "deleted"
            yield f"{case.id} ({name}) is {what} in {by.__qualname__}"


def _replaced_helpers(suite: type[Suite]) -> Iterator[str]:
    """Yield the fixtures and functions of the kit that something else stands in for."""
    helpers = {
        name
        for owner in suite.__mro__
        if _is_kit(owner)
        for name, value in vars(owner).items()
        if callable(value)
        or isinstance(value, classmethod | staticmethod | property)
        or hasattr(value, "_pytestfixturefunction")
    }
    for name in sorted(helpers - _AUTHORS - _inherited(suite).keys()):
        by = _owner(suite, name)
        if not name.startswith("__") and not _is_kit(by):
            yield f"{name}, on which the kit's tests rely, is replaced in {by.__qualname__}"


def _bad_exceptions(suite: type[Suite]) -> Iterator[str]:
    reasons: Mapping[str, object] = {
        **suite.excluded,
        **{id_: expected.reason for id_, expected in suite.expected_failures.items()},
    }
    for id_, reason in sorted(reasons.items()):
        if not isinstance(reason, str) or not reason.strip():
            yield f"{id_} is listed without a reason"
    for id_ in unknown_ids(reasons, suite):
        yield f"{id_} is listed, and no test of this suite has that id"
    for id_, expected in sorted(suite.expected_failures.items()):
        if id_ in suite.excluded:
            yield f"{id_} is listed as excluded and as an expected failure"
        raises = expected.raises if isinstance(expected.raises, tuple) else (expected.raises,)
        if Exception in raises or BaseException in raises:
            yield f"{id_} expects any exception: name the one that it raises"


def _inherited(suite: type[Suite]) -> dict[str, Case]:
    """Return the kit's own tests in a suite's ancestry by their names, whatever stands in their places now."""
    found: dict[str, Case] = {}
    for owner in filter(_is_kit, suite.__mro__):
        for name, value in vars(owner).items():
            case = case_of(value)
            if case is not None:
                found.setdefault(name, case)
    return found


def _owner(suite: type, name: str) -> type:
    """Return the class from which ``suite`` has the attribute."""
    return next(owner for owner in suite.__mro__ if name in vars(owner))


def _is_kit(owner: type) -> bool:
    return owner.__module__.startswith(_KIT)
