from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rivet_core.api.errors import ManifestInvalid
from rivet_core.contract import manifest as module
from rivet_core.contract.keys import check_key
from rivet_core.contract.manifest import (
    MAX_MANIFEST_BYTES,
    WARN_MANIFEST_BYTES,
    Column,
    KeyRange,
    Manifest,
    Part,
    decode,
    encode,
    manifest_json_schema,
)

MakeManifest = Callable[..., Manifest]
MakePart = Callable[..., Part]

GOLDEN = """\
{
  "manifest_version": 1,
  "run_id": "orders_20261122T172100.123_9f3a",
  "export_name": "orders",
  "writer": {
    "name": "rivet-core",
    "version": "0.1.0"
  },
  "started_at": "2026-11-22T17:21:00.123Z",
  "finished_at": "2026-11-22T17:22:10.000Z",
  "status": "success",
  "source": {
    "engine": "postgres",
    "schema": "public",
    "table": "orders",
    "extraction": {
      "strategy": "chunked",
      "cursor_column": "id",
      "cursor_type": "int64",
      "cursor_low": "10",
      "cursor_high": "29"
    },
    "consistency": "snapshot"
  },
  "destination": {
    "kind": "s3",
    "uri": "s3://bucket/exports/orders/"
  },
  "format": "parquet",
  "compression": "zstd",
  "schema_fingerprint": "xxh3:0123456789abcdef",
  "schema": [
    {
      "name": "größe",
      "type": "int64",
      "nullable": false,
      "source_type": "bigint"
    }
  ],
  "row_count": 10,
  "part_count": 1,
  "parts": [
    {
      "part_id": 1,
      "path": "part-000001.parquet",
      "rows": 10,
      "size_bytes": 17,
      "content_fingerprint": "xxh3:0000000000000001",
      "content_md5": "",
      "status": "committed",
      "run_id": "orders_20261122T172100.123_9f3a",
      "chunk": 1,
      "checksums": {
        "crc32c": "0a0b0c0d",
        "md5": "00"
      },
      "version": "v1",
      "range": {
        "columns": [
          "id"
        ],
        "low": [
          "10"
        ],
        "high": [
          "19"
        ],
        "low_inclusive": true,
        "high_inclusive": true,
        "nulls": false
      }
    }
  ]
}
"""


def test_the_bytes_are_exactly_these(make_manifest: MakeManifest, make_part: MakePart) -> None:
    manifest = make_manifest(
        columns=(Column(name="größe", type="int64", nullable=False, source_type="bigint"),),
        parts=(
            make_part(1, content_fingerprint="xxh3:0000000000000001", checksums={"md5": "00", "crc32c": "0a0b0c0d"}),
        ),
    )
    assert encode(manifest).decode() == GOLDEN
    assert encode(decode(GOLDEN.encode())) == GOLDEN.encode()


def test_what_is_written_reads_back_equal(make_manifest: MakeManifest, make_part: MakePart) -> None:
    manifest = make_manifest(
        parts=(
            make_part(1),
            make_part(2, chunk=None, range=None, version=None, run_id=None, checksums={}),
            make_part(
                3,
                schema_fingerprint="xxh3:fedcba9876543210",
                columns=(Column(name="id", type="string"),),
                range=KeyRange(columns=("a", "b"), low=None, high=("é", "2"), low_inclusive=False, nulls=True),
            ),
        )
    )
    assert decode(encode(manifest)) == manifest


def test_times_are_utc_in_milliseconds_wherever_they_came_from(make_manifest: MakeManifest) -> None:
    local = datetime(2026, 11, 22, 19, 21, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    manifest = make_manifest(started_at=local)
    assert manifest.started_at == datetime(2026, 11, 22, 17, 21, 0, 123_000, tzinfo=UTC)
    with pytest.raises(ValidationError, match="timezone"):
        make_manifest(started_at=datetime(2026, 11, 22))


def test_absent_values_are_left_out_because_other_readers_refuse_null(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(writer=None, columns=())
    assert b": null" not in encode(manifest)


def edited(make_manifest: MakeManifest, path: str, value: Any) -> bytes:
    """Return a valid manifest's bytes with the value at a path such as ``parts.0.rows`` replaced."""
    document = json.loads(encode(make_manifest()))
    *parents, last = path.split(".")
    node = document
    for step in parents:
        node = node[int(step)] if isinstance(node, list) else node[step]
    node[int(last) if isinstance(node, list) else last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("manifest_version", True, "manifest_version"),
        ("manifest_version", 1.0, "manifest_version"),
        ("manifest_version", "1", "manifest_version"),
        ("manifest_version", None, "manifest_version"),
        ("run_id", "", "run_id"),
        ("run_id", 5, "run_id"),
        ("run_id", "x" * 500, "run_id"),
        ("export_name", None, "export_name"),
        ("started_at", 1_719_858_000, "started_at"),
        ("started_at", "1719858000", "started_at"),
        ("started_at", "2026-11-22", "started_at"),
        ("started_at", "2026-11-22T17:21:00", "started_at"),
        ("started_at", "2026-13-22T17:21:00Z", "started_at"),
        ("started_at", "0001-01-01T00:00:00+23:00", "started_at"),
        ("finished_at", None, "finished_at"),
        ("status", "perhaps", "status"),
        ("source", [], "source"),
        ("source.extraction", {}, "source.extraction.strategy"),
        ("source.extraction.cursor_high", 5, "source.extraction.cursor_high"),
        ("compression", None, "compression"),
        ("schema_fingerprint", "xxh3:XYZ", "schema_fingerprint"),
        ("schema", {}, "schema"),
        ("schema.0.type", 5, "schema[0].type"),
        ("row_count", 10.0, "row_count"),
        ("row_count", "20", "row_count"),
        ("row_count", float("nan"), "not JSON"),
        ("row_count", float("inf"), "not JSON"),
        ("row_count", -1, "row_count"),
        ("row_count", 10**30, "row_count"),
        ("row_count", 21, "row_count is 21"),
        ("part_count", True, "part_count"),
        ("part_count", 3, "part_count is 3"),
        ("parts", "none", "parts"),
        ("parts", {"0": {}}, "parts"),
        ("parts.1", None, "parts[1]"),
        ("parts.0.part_id", "1", "parts[0].part_id"),
        ("parts.0.part_id", 0, "parts[0].part_id"),
        ("parts.0.part_id", 2, "parts: part_id 2 is there twice"),
        ("parts.0.path", "part-000002.parquet", "parts: the path 'part-000002.parquet' is there twice"),
        ("parts.0.path", "../../etc/passwd", "parts[0].path"),
        ("parts.0.path", "/etc/passwd", "parts[0].path"),
        ("parts.0.path", "a\\b", "parts[0].path"),
        ("parts.0.path", "a\u0000b", "parts[0].path"),
        ("parts.0.path", "", "parts[0].path"),
        ("parts.0.path", "x" * 100_000, "parts[0].path"),
        ("parts.0.path", "manifest.json", "control object"),
        ("parts.0.path", "_SUCCESS", "control object"),
        ("parts.0.path", "manifest-orders_1.json", "control object"),
        ("parts.0.path", "_quarantine/run/part-000001.parquet", "quarantine"),
        ("parts.0.rows", -1, "parts[0].rows"),
        ("parts.0.size_bytes", -1, "parts[0].size_bytes"),
        ("parts.0.size_bytes", 1.5, "parts[0].size_bytes"),
        ("parts.0.content_fingerprint", "", "parts[0].content_fingerprint"),
        ("parts.0.content_fingerprint", "xxh3:0123456789ABCDEF", "parts[0].content_fingerprint"),
        ("parts.0.content_fingerprint", "xxh3:0123456789abcdef\n", "parts[0].content_fingerprint"),
        ("parts.0.content_md5", "not base64", "parts[0].content_md5"),
        ("parts.0.status", "lost", "parts[0].status"),
        ("parts.0.checksums", {"crc32c": 5}, "parts[0].checksums.crc32c"),
        ("parts.0.checksums", {"\x1b[2J": 5}, "parts[0].checksums['\\x1b[2J']"),
        ("parts.0.checksums", {str(n): 0 for n in range(100_000)}, "parts[0].checksums"),
        ("parts.0.range.high", ["1", "2"], "parts[0].range"),
        ("parts.0.range.low", "1", "parts[0].range.low"),
    ],
)
def test_a_wrong_field_is_refused_by_name(make_manifest: MakeManifest, path: str, value: Any, named: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        decode(edited(make_manifest, path, value))
    assert named in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("field", ["manifest_version", "run_id", "finished_at", "status", "parts", "row_count"])
def test_a_missing_field_is_refused_by_name(make_manifest: MakeManifest, field: str) -> None:
    document = json.loads(encode(make_manifest()))
    del document[field]
    with pytest.raises(ManifestInvalid, match=f"{field}: Field required"):
        decode(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"manifest"',
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"run_id": "\xc3\x28"}',
        b'{"run_id": "\\ud800"}',
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b'{"manifest_version": ' + b"9" * 10_000 + b"}",
        b'{"manifest_version": 1e400}',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid, match="invalid"):
        decode(data)


def test_another_version_is_named_whatever_else_it_changed() -> None:
    with pytest.raises(ManifestInvalid, match="version 2") as caught:
        decode(b'{"manifest_version": 2, "parts": "elsewhere"}')
    assert "upgrade" in caught.value.hint


def test_unknown_fields_are_ignored_even_where_a_field_has_that_name_in_python(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    for path in ("future", "columns", "source.schema_name", "parts.0.columns", "parts.0.future"):
        assert decode(edited(make_manifest, path, {"any": [1, None]})) == manifest


def test_quarantined_parts_are_listed_and_not_counted(make_manifest: MakeManifest, make_part: MakePart) -> None:
    parts = (make_part(1), make_part(2, status="quarantined", path="_quarantine/run/part-000002.parquet"))
    manifest = make_manifest(parts=parts, row_count=10, part_count=1)
    assert decode(encode(manifest)).committed_parts() == parts[:1]


def test_the_size_cap_holds_for_reader_and_writer(make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_MANIFEST_BYTES == 64 * 1024 * 1024 == 2 * WARN_MANIFEST_BYTES
    with pytest.raises(ManifestInvalid, match="limit is 67108864"):
        decode(b" " * (MAX_MANIFEST_BYTES + 1))
    data = encode(make_manifest())
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", len(data))
    assert encode(decode(data)) == data
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", len(data) - 1)
    with pytest.raises(ManifestInvalid, match="limit"):
        encode(make_manifest())


def test_digests_unite_all_checksums_as_hex(make_part: MakePart) -> None:
    assert make_part(1).digests() == {"crc32c": "0a0b0c0d"}
    md5 = make_part(1, content_md5="1B2M2Y8AsgTpgAmY7PhCfg==").digests()
    assert md5 == {"crc32c": "0a0b0c0d", "md5": "d41d8cd98f00b204e9800998ecf8427e"}


def test_the_arrow_schema_is_the_dataset_s_or_the_part_s_own(make_manifest: MakeManifest, make_part: MakePart) -> None:
    own = make_part(2, columns=(Column(name="id", type="decimal(5,2)"),))
    manifest = make_manifest(parts=(make_part(1), own))
    assert manifest.arrow_schema(manifest.parts[0]) == pa.schema([pa.field("id", pa.int64(), nullable=False)])
    assert manifest.arrow_schema(own) == pa.schema([pa.field("id", pa.decimal128(5, 2))])
    with pytest.raises(ManifestInvalid, match="hologram"):
        make_manifest(columns=(Column(name="id", type="hologram"),)).arrow_schema()


def test_the_json_schema_names_fields_as_the_file_does() -> None:
    schema: Any = manifest_json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == set(json.loads(GOLDEN))
    assert {"manifest_version", "run_id", "status", "parts"} <= set(schema["required"])
    assert "schema" in schema["$defs"]["ManifestSource"]["properties"]
    assert schema["properties"]["started_at"]["format"] == "date-time"


@settings(deadline=None)  # shared machines pause
@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        decode(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)  # shared machines pause
@given(st.data())
def test_a_manifest_changed_anywhere_is_refused_or_safe_to_use(data: st.DataObject) -> None:
    document = json.loads(GOLDEN)
    node: Any = document
    while True:
        key = data.draw(st.sampled_from(range(len(node)) if isinstance(node, list) else sorted(node)))
        if not isinstance(node[key], (dict, list)) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    if data.draw(st.booleans()):
        node[key] = data.draw(JSON)
    else:
        del node[key]
    try:
        manifest = decode(json.dumps(document).encode())
    except ManifestInvalid:
        return
    assert decode(encode(manifest)) == manifest
    for part in manifest.parts:
        check_key(part.path)
        part.digests()
