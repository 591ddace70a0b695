"""rivet-s3 passes the conformance kit: the whole of it on SeaweedFS, what moto can show on moto."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

from rivet_core.testing import DestinationSuite, Fault, Harness
from rivet_core.testing.destination.unit_safety import SafetyTests
from servers.http_proxy import HttpProxy
from servers.http_rules import Action, Answer, Exchange, LoseAnswer
from servers.s3 import S3Keys, S3Server

DENIED = Answer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
FAULTS: dict[Fault, Action] = {"denied": DENIED, "unavailable": Answer(503), "lose_answer": LoseAnswer()}

SLOW = "moto needs many minutes for whole runs by the hundred, which SeaweedFS is for"
NO_LOCK = "moto looks at the key and writes it later, without a lock: test_s3_races.py lets one request come at a time"


def is_first_write(exchange: Exchange) -> bool:
    """Whether a request writes an object; what the plugin tries to find out about the server does not count."""
    return exchange.method in ("PUT", "POST") and ".rivet-probe" not in exchange.path


@contextmanager
def faults(proxy: HttpProxy, fault: Fault) -> Iterator[None]:
    """Let the proxy misbehave."""
    if fault == "lose_answer":
        rule = proxy.on(is_first_write, FAULTS[fault])
    else:
        rule = proxy.always(lambda exchange: True, FAULTS[fault])
    yield
    proxy.forget()
    assert rule.fired


def harness_of(place: Any, keys: S3Keys, login: dict[str, str], proxy: HttpProxy | None) -> Harness:
    """Return a harness for prefixes of a place's bucket; with a proxy it goes through that, and has faults."""
    server: S3Server = place.server.through(proxy.port) if proxy else place.server
    raw, bucket = place.client, place.bucket

    def get(prefix: str, key: str) -> bytes | None:
        try:
            with raw.get_object(Bucket=bucket, Key=f"{prefix}/{key}")["Body"] as body:
                content: bytes = body.read()
        except raw.exceptions.NoSuchKey:
            return None
        return content

    def list_keys(prefix: str) -> list[str]:
        pages = raw.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        return [item["Key"].removeprefix(f"{prefix}/") for page in pages for item in page.get("Contents", ())]

    return Harness(
        config=lambda prefix: {"bucket": bucket, "prefix": prefix, "endpoint": server.endpoint, **login},
        get=get,
        put=lambda prefix, key, data: raw.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=data),
        list=list_keys,
        delete=lambda prefix, key: raw.delete_object(Bucket=bucket, Key=f"{prefix}/{key}"),
        secrets=[secret for secret in (keys.secret_key, keys.session_token) if secret],
        faults=(lambda fault: faults(proxy, fault)) if proxy else None,
    )


def login_for(request: pytest.FixtureRequest, server: Any, proxy: HttpProxy) -> tuple[S3Keys, HttpProxy | None]:
    """Return the keys for a test, and the proxy for one that may need it.

    The tests of safety ask for faults, and look for secrets, of which session keys have one more. For the others the
    proxy would cost as much time as the server.
    """
    if hasattr(SafetyTests, request.function.__name__):
        return session_keys(server), proxy
    return server.admin, None


@cache
def session_keys(server: Any) -> S3Keys:
    """Return temporary keys, good for all tests on a server."""
    keys: S3Keys = server.assume_role()
    return keys


class TestSeaweedFS(DestinationSuite):
    destination = "s3"

    @pytest.fixture
    def harness(
        self, place: Any, proxy: HttpProxy, use_keys: Any, no_waiting: None, request: pytest.FixtureRequest
    ) -> Harness:
        keys, through = login_for(request, place.server, proxy)
        return harness_of(place, keys, use_keys(keys), through)


class TestMoto(DestinationSuite):
    destination = "s3"
    excluded = {  # noqa: RUF012  the base class declares it
        **dict.fromkeys(
            ("S-MACHINE-1", "T-CRASH-1", "T-CRASH-2", "T-ANSWER-1", "T-RACE-1", "T-REPAIR-2", "T-MACHINE-1"), SLOW
        ),
        **dict.fromkeys(("C-PUT-2", "C-WRITE-1"), NO_LOCK),
    }

    @pytest.fixture
    def harness(
        self, moto_place: Any, moto_proxy: HttpProxy, use_keys: Any, no_waiting: None, request: pytest.FixtureRequest
    ) -> Harness:
        keys, through = login_for(request, moto_place.server, moto_proxy)
        return harness_of(moto_place, keys, use_keys(keys), through)
