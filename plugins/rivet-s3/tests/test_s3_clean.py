"""``rivet clean`` in a bucket: uploads that are billed and not listed among the objects, and quarantine."""

from __future__ import annotations

from typing import Any

PART = "part-000007.parquet"
QUARANTINED = "_quarantine/orders_20260101T000000.000_9f3a/part-000001.parquet"


def begin_upload(place: Any, key: str) -> None:
    """Leave what a killed writer leaves: an upload with a piece, and no object."""
    there = {"Bucket": place.bucket, "Key": place.prefix + key}
    upload = place.client.create_multipart_upload(**there)["UploadId"]
    place.client.upload_part(**there, UploadId=upload, PartNumber=1, Body=b"x" * (5 << 20))


def test_what_killed_runs_left_is_removed_and_nothing_else(place: Any, export: Any, use_keys: Any) -> None:
    export.configure(place, **use_keys(place.server.admin))
    begin_upload(place, PART)
    begin_upload(place, "backup/notes.bin")
    place.put(QUARANTINED, b"superseded")
    place.put("_quarantine/notes.txt", b"somebody's own")
    uploads, names = place.uploads(), place.names()
    assert (len(uploads), len(names)) == (2, 2)

    young = export.rivet("clean", "--execute")
    assert (young.exit_code, "2 younger than 7 days" in young.out) == (0, True), young
    shown = export.rivet("clean", "--older-than", "0")
    assert (shown.exit_code, "2 objects found" in shown.out) == (0, True), shown
    assert (place.uploads(), place.names()) == (uploads, names)

    cleaned = export.rivet("clean", "--older-than", "0", "--execute", "--json")
    assert cleaned.exit_code == 0, cleaned
    (report,) = cleaned.document["reports"]
    assert {item["key"]: item["status"] for item in report["items"]} == {PART: "removed", QUARANTINED: "removed"}
    assert {kept["key"] for kept in report["kept"]} == {"backup/notes.bin", "_quarantine/notes.txt"}
    assert place.uploads() == ["backup/notes.bin"]
    assert place.names() == ["_quarantine/notes.txt"]


def test_without_the_right_to_delete_each_failure_is_named(place: Any, export: Any, use_keys: Any) -> None:
    begin_upload(place, PART)
    place.put(QUARANTINED, b"superseded")
    export.configure(place, **use_keys(place.server.reader))
    refused = export.rivet("clean", "--older-than", "0", "--execute", "--json")
    assert refused.exit_code == 1, refused
    (report,) = refused.document["reports"]
    assert {(item["status"], item["error"][-6:]) for item in report["items"]} == {("failed", "[R403]")}
    assert len(report["items"]) == 2
    assert (place.uploads(), place.names()) == ([PART], [QUARANTINED])
