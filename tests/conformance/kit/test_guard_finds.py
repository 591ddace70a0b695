"""What the guard finds in a suite's class."""

from __future__ import annotations

import pytest

from rivet_core.testing import DestinationSuite, ExpectedFailure, proves
from rivet_core.testing.guard import inherited_cases, problems_of

ABORT = "test_abort_after_commit_does_nothing"


def suite(*bases: type, **body: object) -> type[DestinationSuite]:
    return type("Suite", (*bases, DestinationSuite), {"destination": "local", **body})


def own_test(self: object) -> None:
    """Prove nothing."""


def test_an_honest_suite_has_no_problem():
    honest = suite(
        harness=pytest.fixture(own_test),
        test_of_the_authors=own_test,
        excluded={"D-LIST-2": "the emulator has no pages"},
        expected_failures={"D-COPY-1": ExpectedFailure(AssertionError, "a known bug")},
    )
    assert problems_of(honest) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({ABORT: None}, f"D-WRITE-6 ({ABORT}) is deleted in Suite"),
        ({ABORT: own_test}, f"D-WRITE-6 ({ABORT}) is overridden in Suite"),
        (
            {ABORT: proves("D-WRITE-6", breaks="-", hint="-")(own_test)},
            f"D-WRITE-6 ({ABORT}) is overridden in Suite",
        ),
        ({"open_store": own_test}, "open_store, on which the kit's tests rely, is replaced in Suite"),
        ({"_rivet_exceptions": None}, "_rivet_exceptions, on which the kit's tests rely, is replaced in Suite"),
        ({"excluded": {"D-LIST-1": " "}}, "D-LIST-1 is listed without a reason"),
        ({"excluded": {"D-NONE-1": "why"}}, "D-NONE-1 is listed, and no test of this suite has that id"),
        (
            {"expected_failures": {"D-LIST-2": ExpectedFailure(Exception, "pages")}},
            "D-LIST-2 expects any exception: name the one that it raises",
        ),
        (
            {"expected_failures": {"D-LIST-2": ExpectedFailure((KeyError, BaseException), "pages")}},
            "D-LIST-2 expects any exception: name the one that it raises",
        ),
        (
            {
                "excluded": {"D-LIST-2": "pages"},
                "expected_failures": {"D-LIST-2": ExpectedFailure(KeyError, "pages")},
            },
            "D-LIST-2 is listed as excluded and as an expected failure",
        ),
    ],
)
def test_a_suite_that_proves_less_than_it_says_has_a_problem(body, problem):
    assert problems_of(suite(**body)) == [problem]


def test_what_a_base_class_of_the_authors_overrides_is_found():
    own = type("Own", (), {ABORT: own_test})
    assert problems_of(suite(own)) == [f"D-WRITE-6 ({ABORT}) is overridden in Own"]


def test_a_deleted_test_may_be_listed_with_a_reason_and_stays_in_the_report():
    listed = suite(**{ABORT: None, "excluded": {"D-WRITE-6": "no writer yet"}})
    assert problems_of(listed) == []
    assert "D-WRITE-6" in [case.id for case in inherited_cases(listed)]


def test_every_test_of_the_suite_has_an_id_of_its_own():
    ids = [case.id for case in inherited_cases(DestinationSuite)]
    assert sorted(set(ids)) == ids
    tests = [name for name in dir(DestinationSuite) if name.startswith("test_")]
    assert len(tests) == len(ids), "a test of the kit has no @proves"
