"""Retries: what is tried again, after how long, and when it ends."""

from __future__ import annotations

import doctest
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import stamina

from rivet_core.api import CredentialsExpired, NotFound, Transient, retry, retry_after


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5, cap=True):
        yield


class Request:
    """Fails with each error once, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_only_what_is_transient_is_tried_again():
    request = Request(Transient("busy"), Transient("busy"))
    assert retry(request) == "done"
    assert request.calls == 3
    request = Request(NotFound("gone"))
    with pytest.raises(NotFound):
        retry(request)
    assert request.calls == 1


def test_the_last_failure_is_raised_and_the_others_are_logged(caplog: pytest.LogCaptureFixture):
    request = Request(*(Transient(f"busy {number}") for number in range(5)))
    with pytest.raises(Transient, match="busy 2"):
        retry(request, attempts=3)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("rivet_core")]
    assert ours == ["busy 0; trying again", "busy 1; trying again"]


def test_a_refused_credential_is_renewed_once():
    request = Request(CredentialsExpired("over"))
    renewals = []
    assert retry(request, renew=lambda: not renewals.append(1)) == "done"
    assert renewals == [1]
    request = Request(CredentialsExpired("over"), CredentialsExpired("over again"))
    with pytest.raises(CredentialsExpired, match="over again"):
        retry(request, renew=lambda: True)


@pytest.mark.parametrize("renew", [None, lambda: False])
def test_without_another_credential_the_request_fails(renew: Callable[[], bool] | None):
    request = Request(CredentialsExpired("over"))
    with pytest.raises(CredentialsExpired):
        retry(request, renew=renew)
    assert request.calls == 1


def test_no_further_try_after_stop():
    stop = threading.Event()
    stop.set()
    request = Request(Transient("busy"))
    with pytest.raises(Transient):
        retry(request, stop=stop)
    assert request.calls == 1


def test_the_time_that_the_store_asks_for_is_waited():
    with stamina.set_testing(False):
        started = time.monotonic()
        assert retry(Request(Transient("busy", retry_after=0.3))) == "done"
    assert time.monotonic() - started >= 0.3


def test_a_date_in_the_future_is_a_number_of_seconds():
    seconds = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True))
    assert seconds is not None
    assert 25 < seconds <= 30


@pytest.mark.parametrize("module", ["retry", "secret"])
def test_the_examples_in_the_code_run(module: str):
    failed, attempted = doctest.testmod(importlib.import_module(f"rivet_core.api.{module}"))
    assert attempted
    assert not failed
