"""What ``rivet doctor`` says about a bucket and a login."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from rivet_core.api import Check, DestinationContext
from rivet_gcs.auth import from_file
from rivet_gcs.config import GcsConfig
from rivet_gcs.destination import GcsDestination, open_gcs
from servers.gcs import GcsServer
from servers.google_tokens import EMAIL, TokenService, token_service
from servers.http_proxy import HttpProxy
from servers.http_rules import Answer, Exchange
from servers.process import HOST


@pytest.fixture
def proxy(fake_gcs: GcsServer) -> Iterator[HttpProxy]:
    with HttpProxy(fake_gcs.port) as proxy:
        yield proxy


@pytest.fixture
def store(fake_gcs: GcsServer, proxy: HttpProxy, open_at: Callable[..., GcsDestination]) -> GcsDestination:
    return open_at(proxy.port, fake_gcs.create_bucket())


def checks(store: GcsDestination) -> dict[str, Check]:
    return {check.name: check for check in store.check()}


def asks_for_bucket(exchange: Exchange) -> bool:
    return exchange.method == "GET" and exchange.path.count("/") == 4


def test_a_healthy_bucket(store: GcsDestination) -> None:
    found = checks(store)
    assert {check.status for check in found.values()} == {"ok"}
    assert found.keys() >= {"identity", "bucket", "location", "clock", "unfinished uploads"}
    assert found["identity"].message == "anonymous"
    assert "US" in found["location"].message
    assert "a week" in found["unfinished uploads"].message


def answer(**resource: Any) -> Answer:
    """What a bucket with settings that no server for tests has would answer."""
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(resource).encode())


def test_what_the_bucket_keeps(store: GcsDestination, proxy: HttpProxy) -> None:
    rule = proxy.always(
        asks_for_bucket,
        answer(
            location="EU",
            retentionPolicy={"retentionPeriod": "172800"},
            softDeletePolicy={"retentionDurationSeconds": "604800"},
            versioning={"enabled": True},
        ),
    )
    found = checks(store)
    assert rule.fired == 1
    assert found["retention policy"].status == "warning"
    assert "2 days" in found["retention policy"].message
    assert "{run_id}" in found["retention policy"].hint
    assert "7 days" in found["soft delete"].message
    assert found["versioning"].status == "ok"


@pytest.mark.parametrize(("minutes", "status"), [(1, "ok"), (3, "warning"), (60, "failed"), (-60, "failed")])
def test_a_clock_that_is_off(store: GcsDestination, proxy: HttpProxy, minutes: int, status: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    proxy.always(asks_for_bucket, Answer(200, {"Content-Type": "application/json", "Date": date}, b"{}"))
    clock = checks(store)["clock"]
    assert clock.status == status
    assert status == "ok" or "NTP" in clock.hint


def test_settings_need_not_be_readable(store: GcsDestination, proxy: HttpProxy) -> None:
    proxy.always(asks_for_bucket, Answer(403))
    found = checks(store)
    assert (found["bucket"].status, found["location"].status) == ("ok", "skipped")
    assert "storage.buckets.get" in found["location"].hint


def test_nothing_is_allowed(store: GcsDestination, proxy: HttpProxy) -> None:
    proxy.always(lambda _: True, Answer(403))
    bucket = checks(store)["bucket"]
    assert bucket.status == "failed"
    assert "grant storage.objects.list" in bucket.hint


def test_there_is_no_bucket(proxy: HttpProxy, open_at: Callable[..., GcsDestination]) -> None:
    bucket = checks(open_at(proxy.port, "nowhere"))["bucket"]
    assert bucket.status == "failed"
    assert "create the bucket" in bucket.hint


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    with token_service() as service:
        yield service


@pytest.fixture
def logged_in(fake_gcs: GcsServer, proxy: HttpProxy, tokens: TokenService, tmp_path: Path) -> Iterator[GcsDestination]:
    (tmp_path / "key.json").write_text(json.dumps(tokens.service_account()))
    proxy.require(tokens.accepts)
    config = GcsConfig(bucket=fake_gcs.create_bucket(), endpoint=f"http://{HOST}:{proxy.port}")
    auth = from_file({"credentials_file": str(tmp_path / "key.json")}, "gcs")
    destination = open_gcs(config, DestinationContext(Path("/"), auth))
    yield destination
    destination.close()


def test_the_identity_and_the_end_of_its_token(logged_in: GcsDestination) -> None:
    identity = checks(logged_in)["identity"]
    assert identity.status == "ok"
    assert identity.message.startswith(f"service account {EMAIL}, from ")
    assert f"token until {datetime.now(UTC) + timedelta(hours=1):%Y-%m-%d}" in identity.message


def test_a_login_that_is_refused(logged_in: GcsDestination, tokens: TokenService) -> None:
    tokens.refusal = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    (identity,) = logged_in.check()
    assert identity.status == "failed"
    assert "Invalid JWT Signature" in identity.message
    assert "clock" in identity.hint
