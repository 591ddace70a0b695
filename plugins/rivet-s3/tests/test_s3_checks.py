"""What ``rivet doctor`` says about a bucket, and what to do about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from rivet_core.api import Check
from servers.http_rules import Answer, Exchange


def checks_of(store: Any) -> dict[str, Check]:
    return {check.name: check for check in store.check()}


def is_listing(exchange: Exchange) -> bool:
    return "list-type" in exchange.query


def listing(headers: dict[str, str]) -> Answer:
    return Answer(200, {"Content-Type": "application/xml", **headers}, b"<ListBucketResult/>")


def test_everything_is_in_order(place: Any, connect: Any) -> None:
    found = checks_of(connect(place))
    assert {name: check.status for name, check in found.items()} == {
        "identity": "ok",
        "bucket": "ok",
        "clock": "ok",
        "unfinished uploads": "warning",
        "conditional writes": "ok",
        "integrity": "ok",
    }
    assert "access key …" in found["identity"].message
    assert place.names() == []


def test_a_bucket_that_is_not_there_is_all_that_is_said(place: Any, connect: Any) -> None:
    found = checks_of(connect(replace(place, bucket="no-such-bucket")))
    assert [name for name, check in found.items() if check.status == "failed"] == ["bucket"]
    assert "create the bucket" in found["bucket"].hint
    assert set(found) == {"identity", "bucket"}


def test_a_foreign_bucket_is_denied(place: Any, connect: Any, seaweedfs: Any) -> None:
    found = checks_of(connect(place, keys=seaweedfs.scoped))
    assert found["bucket"].status == "failed"
    assert "AccessDenied" in found["bucket"].message


def test_a_reader_may_look_and_is_told_what_it_lacks(place: Any, connect: Any, seaweedfs: Any) -> None:
    found = checks_of(connect(place, keys=seaweedfs.reader))
    assert found["bucket"].status == "ok"
    assert found["features"].status == "failed"
    assert "s3:PutObject" in found["features"].hint


@pytest.mark.parametrize(("actual", "status"), [("eu-north-1", "failed"), ("us-east-1", "ok")])
def test_the_region_is_compared(place: Any, proxy: Any, connect: Any, actual: str, status: str) -> None:
    rule = proxy.always(is_listing, listing({"x-amz-bucket-region": actual}))
    found = checks_of(connect(place, through=proxy, region="us-east-1"))["region"]
    assert rule.fired
    assert found.status == status
    assert actual in found.message
    assert status == "ok" or "set region: eu-north-1" in found.hint


@pytest.mark.parametrize(("minutes", "status"), [(0, "ok"), (10, "warning"), (-20, "failed")])
def test_the_clock_is_compared(place: Any, proxy: Any, connect: Any, minutes: int, status: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    rule = proxy.always(is_listing, listing({"Date": date}))
    found = checks_of(connect(place, through=proxy))["clock"]
    assert rule.fired
    assert found.status == status
    assert (status == "ok") == (found.hint == "")


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({"Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}, "ok"),
        ({"Filter": {"Prefix": "kit-"}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}, "ok"),
        ({"Filter": {"Prefix": "other/"}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}, "warning"),
        ({"Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}, "warning"),
        (None, "warning"),
    ],
    ids=["whole bucket", "a prefix of ours", "another prefix", "no such rule", "no rules"],
)
def test_lifecycle_rules_are_read(moto_place: Any, connect: Any, rule: dict[str, Any] | None, status: str) -> None:
    place = replace(moto_place, bucket=moto_place.server.create_bucket())
    if rule is not None:
        place.client.put_bucket_lifecycle_configuration(
            Bucket=place.bucket,
            LifecycleConfiguration={"Rules": [{"ID": "tidy", "Status": "Enabled", **rule}]},
        )
    found = checks_of(connect(place))["unfinished uploads"]
    assert found.status == status
    assert ("7 days" in found.message) == (status == "ok")
    assert (found.hint == "") == (status == "ok")


def test_rules_that_may_not_be_read_are_no_failure(moto_place: Any, moto: Any, connect: Any) -> None:
    keys = moto.create_user(("s3:ListBucket", "s3:PutObject", "s3:DeleteObject"))
    found = checks_of(connect(moto_place, keys=keys))["unfinished uploads"]
    assert found.status == "skipped"
    assert "s3:GetLifecycleConfiguration" in found.hint


def test_session_keys_that_nobody_refreshes_are_a_warning(place: Any, connect: Any, seaweedfs: Any) -> None:
    keys = seaweedfs.assume_role()
    found = checks_of(connect(place, keys=keys))["identity"]
    assert found.status == "warning"
    assert "cannot be refreshed" in found.message
    assert keys.access_key not in found.message


def test_what_a_store_lacks_is_said(moto_place: Any, connect: Any) -> None:
    found = checks_of(connect(moto_place, conditional_writes="off", checksum="off"))
    assert found["conditional writes"].status == "warning"
    assert "one run at a time" in found["conditional writes"].hint
    assert found["integrity"].status == "warning"
    assert "MD5" in checks_of(connect(moto_place))["integrity"].message
