"""``python -m bench.verify``: compares Parquet files with a reference, value by value, and names the types they lost.

It reads ``{"reference", "kinds", "files", "values"}`` from its input and writes a ``Verdict`` as JSON. It is a process
of its own because the memory of the benchmark's counts into what it measures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.verdict import Verdict

_PHYSICAL = {
    "BOOLEAN": "bool",
    "INT96": "timestamp[int96]",
    "BYTE_ARRAY": "binary",
}
_UNITS = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


def count(files: Sequence[Path]) -> Verdict:
    """Return a verdict on the number of rows alone."""
    return Verdict(sum(pq.read_metadata(file).num_rows for file in files))


def compare(reference: Path, kinds: dict[str, str], files: Sequence[Path]) -> Verdict:
    """Compare every value of ``files`` with the one of ``reference`` that has the same ``id``.

    ``kinds`` has what an exact file holds, by column. A value counts as right if it says the same in another type: a
    decimal as a float that rounds to it, a UUID or a JSON document as text.
    """
    verdict = count(files)
    found = kinds_of(files[0]) if files else {}
    verdict.added.extend(name for name in found if name not in kinds)
    verdict.types.update({name: [kind, found[name]] for name, kind in kinds.items() if found.get(name, kind) != kind})
    verdict.wrong.update({name: "missing" for name in kinds if name not in found})
    if "id" in verdict.wrong:
        return verdict
    keys = _column(files, "id").cast(pa.int64())
    order = None if _ascending(keys) else pc.sort_indices(keys)
    if not _in_order(keys, order).equals(_column([reference], "id")):
        verdict.wrong["id"] = "not the keys of the table"
        return verdict
    for name in (name for name in kinds if name in found and name != "id"):
        difference = _difference(_column([reference], name), _in_order(_column(files, name), order), kinds[name])
        if difference:
            verdict.wrong[name] = difference
    return verdict


def kinds_of(file: Path) -> dict[str, str]:
    """Return the type of each column of a Parquet file, in short."""
    schema = pq.ParquetFile(file).schema
    columns = [schema.column(index) for index in range(len(schema.names))]
    return {column.path.split(".")[0]: _kind(column) for column in columns}


def _kind(column: Any) -> str:
    if column.max_repetition_level > 0 or "." in column.path:
        return "nested"
    logical = json.loads(column.logical_type.to_json())
    if logical["Type"] == "None":
        return _PHYSICAL.get(column.physical_type, column.physical_type.lower())
    if logical["Type"] == "Int":
        return f"{'' if logical['isSigned'] else 'u'}int{logical['bitWidth']}"
    if logical["Type"] == "Decimal":
        return f"decimal({logical['precision']},{logical['scale']})"
    name = logical["Type"].lower()
    if "timeUnit" not in logical:
        return str(name)
    zone = ",UTC" if name == "timestamp" and logical["isAdjustedToUTC"] else ""
    return f"{name}[{_UNITS[logical['timeUnit']]}{zone}]"


def _column(files: Sequence[Path], name: str) -> pa.Array:
    chunks = [chunk for file in files for chunk in pq.read_table(file, columns=[name]).column(0).chunks]
    plain = [_plain(chunk) for chunk in chunks]
    kinds = {chunk.type for chunk in plain}
    if len(kinds) > 1:
        raise TypeError(f"{name} has several types: {', '.join(sorted(map(str, kinds)))}")
    return pa.concat_arrays(plain) if plain else pa.array([], pa.null())


def _plain(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if pa.types.is_large_binary(array.type) or pa.types.is_binary_view(array.type):
        array = array.cast(pa.binary())
    return array


def _ascending(keys: pa.Array) -> bool:
    return bool(pc.all(pc.less(keys.slice(0, max(len(keys) - 1, 0)), keys.slice(1))).as_py() in (True, None))


def _in_order(array: pa.Array, order: pa.Array | None) -> pa.Array:
    return array if order is None else array.take(order)


def _difference(expected: pa.Array, found: pa.Array, kind: str) -> str | None:
    """Return what is wrong with ``found``, or ``None``."""
    try:
        found = _READINGS.get(kind, _as_is)(found, expected.type)
        expected = _READINGS[kind](expected, expected.type) if kind == "uuid" else expected
    except (pa.ArrowException, ValueError, TypeError) as error:
        return f"not comparable: {str(error).splitlines()[0][:100]}"
    nulls = pc.sum(pc.xor(expected.is_null(), found.is_null())).as_py() or 0
    unequal = pc.fill_null(pc.not_equal(expected, found), False)
    wrong = pc.sum(unequal).as_py() or 0
    if wrong and kind == "json":
        pairs = zip(expected.filter(unequal).to_pylist(), found.filter(unequal).to_pylist(), strict=True)
        wrong = sum(not _same_document(*pair) for pair in pairs)
    reasons = [f"{wrong} values differ"] * bool(wrong) + [f"{nulls} NULLs differ"] * bool(nulls)
    return ", ".join(reasons) or None


def _same_document(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def _as_is(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    return array.cast(wanted, safe=not pa.types.is_floating(array.type))


def _instants(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Read what has no zone as UTC."""
    return array.cast(wanted, safe=False)


def _uuids(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_binary(array.type) or pa.types.is_fixed_size_binary(array.type):
        return pa.array([None if value is None else value.hex() for value in array.to_pylist()], pa.string())
    return pc.replace_substring(pc.utf8_lower(array), "-", "")


_READINGS: dict[str, Callable[[pa.Array, pa.DataType], pa.Array]] = {
    "uuid": _uuids,
    "timestamp[us,UTC]": _instants,
}


def main() -> None:
    """Answer one request."""
    task = json.load(sys.stdin)
    files = [Path(file) for file in task["files"]]
    verdict = compare(Path(task["reference"]), task["kinds"], files) if task["values"] else count(files)
    json.dump(asdict(verdict), sys.stdout)


if __name__ == "__main__":
    main()
