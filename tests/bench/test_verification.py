"""Each way in which a peer's output can be less than the table is found."""

import datetime as dt
import json
import uuid
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.verify import compare, kinds_of

KINDS = {
    "id": "int64",
    "price": "decimal(12,2)",
    "uid": "uuid",
    "created": "timestamp[us,UTC]",
    "document": "json",
    "note": "string",
    "payload": "binary",
    "flagged": "bool",
}
UUIDS = [uuid.UUID(int=number) for number in range(3)]
TIMES = [dt.datetime(2026, 1, day, 12, 30, 15, 123456) for day in (1, 2, 3)]
EXACT = {
    "id": pa.array([1, 2, 3], pa.int64()),
    "price": pa.array([Decimal("1.25"), None, Decimal("-3.10")], pa.decimal128(12, 2)),
    "uid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([item.bytes for item in UUIDS], pa.binary(16))),
    "created": pa.array(TIMES, pa.timestamp("us", "UTC")),
    "document": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1, "b": [2]}', None, "[]"])),
    "note": pa.array(["é", "", None]),
    "payload": pa.array([b"\x00\xff", b"", None]),
    "flagged": pa.array([True, False, None]),
}


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "reference.parquet"
    plain = {
        "uid": pa.array([str(item) for item in UUIDS]),
        "created": pa.array(TIMES, pa.timestamp("us")),
        "document": pa.array(['{"a": 1, "b": [2]}', None, "[]"]),
    }
    pq.write_table(pa.table({**EXACT, **plain}), path)
    return path


def verdict_on(reference: Path, *parts: dict[str, object]):
    files = []
    for number, part in enumerate(parts):
        files.append(reference.with_name(f"part-{number}.parquet"))
        pq.write_table(pa.table(part), files[-1])
    return compare(reference, KINDS, files)


def test_an_exact_copy_is_exact(reference: Path):
    verdict = verdict_on(reference, EXACT)
    assert (verdict.rows, verdict.types, verdict.wrong, verdict.added) == (3, {}, {}, [])


def test_order_and_number_of_files_do_not_matter(reference: Path):
    table = pa.table(EXACT)
    verdict = verdict_on(
        reference, dict(zip(KINDS, table.slice(2), strict=True)), dict(zip(KINDS, table[:2], strict=True))
    )
    assert verdict.wrong == {}


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("price", pa.array([Decimal("1.25"), None, Decimal("-3.11")], pa.decimal128(12, 2)), "1 values differ"),
        ("price", pa.array([1.25, 0.0, -3.1]), "1 NULLs differ"),
        ("note", pa.array(["é", None, None]), "1 NULLs differ"),
        ("note", pa.array(["e", "", None]), "1 values differ"),
        ("created", pa.array([TIMES[0], TIMES[1], TIMES[1]], pa.timestamp("us", "UTC")), "1 values differ"),
        ("created", pa.array([time.replace(microsecond=0) for time in TIMES]), "3 values differ"),
        ("document", pa.array(['{"a": 2, "b": [2]}', None, "[]"]), "1 values differ"),
        ("uid", pa.array([str(UUIDS[0])] * 3), "2 values differ"),
        ("payload", pa.array([b"\x00\xfe", b"", None]), "1 values differ"),
        ("flagged", pa.array([1, 1, None]), "1 values differ"),
        ("id", pa.array([1, 2, 4]), "not the keys of the table"),
    ],
)
def test_one_wrong_value_is_found(reference: Path, column: str, values: pa.Array, reason: str):
    assert verdict_on(reference, {**EXACT, column: values}).wrong == {column: reason}


def test_a_missing_column_and_an_added_one_are_named(reference: Path):
    found = {name: values for name, values in EXACT.items() if name != "note"} | {"_load_id": pa.array([1, 1, 1])}
    verdict = verdict_on(reference, found)
    assert verdict.wrong == {"note": "missing"}
    assert verdict.added == ["_load_id"]


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("price", pa.array([1.25, None, -3.1]), "double"),
        ("price", pa.array(["1.25", None, "-3.10"]), "string"),
        ("price", pa.array([Decimal("1.25"), None, Decimal("-3.1")], pa.decimal128(38, 10)), "decimal(38,10)"),
        ("uid", pa.array([str(item).upper() for item in UUIDS]), "string"),
        ("uid", pa.array([item.bytes for item in UUIDS]), "binary"),
        ("document", pa.array(['{"b":[2],"a":1}', None, "[]"]), "string"),
        ("created", pa.array(TIMES, pa.timestamp("us")), "timestamp[us]"),
        ("note", pa.array(["é", "", None]).dictionary_encode(), None),
        ("flagged", pa.array([1, 0, None], pa.int8()), "int8"),
    ],
)
def test_a_lost_type_is_named_and_its_values_still_compared(
    reference: Path, column: str, values: pa.Array, kind: str | None
):
    verdict = verdict_on(reference, {**EXACT, column: values})
    assert verdict.types == ({column: [KINDS[column], kind]} if kind else {})
    assert verdict.wrong == {}


def test_types_are_named_as_parquet_has_them(reference: Path):
    path = reference.with_name("types.parquet")
    columns = {
        "small": pa.array([1], pa.int16()),
        "unsigned": pa.array([1], pa.uint32()),
        "day": pa.array([1], pa.date32()),
        "time": pa.array([1], pa.time64("us")),
        "list": pa.array([[1]]),
    }
    pq.write_table(pa.table(columns), path)
    assert list(kinds_of(path).values()) == ["int16", "uint32", "date", "time[us]", "nested"]


def test_the_kinds_of_every_table_are_names_that_files_can_have():
    from bench.tables import ENGINES, LINEITEM, WIDE

    plain = {"int16", "int32", "int64", "bool", "float", "double", "binary", "string", "date", "uuid", "json"}
    for table in (LINEITEM, WIDE):
        for engine in ENGINES:
            odd = {kind for kind in table.kinds(engine).values() if not kind.startswith(("decimal(", "timestamp["))}
            assert odd <= plain | {"int8"}, json.dumps(sorted(odd))
