"""An export from beginning to end, as users see it."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow.parquet as pq
import pytest


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_run_validate_and_doctor(place: Any, moto_place: Any, export: Any, use_keys: Any, server: str) -> None:
    there = place if server == "seaweedfs" else moto_place
    export.configure(there, **use_keys(there.server.admin))
    for _ in range(2):
        run = export.rivet("run", "--validate")
        assert run.exit_code == 0, run
    validated = export.rivet("validate", "--format", "json")
    assert validated.exit_code == 0, validated
    manifest = json.loads(there.get("manifest.json"))
    rows = [row for part in manifest["parts"] for row in pq.read_table(io.BytesIO(there.get(part["path"]))).to_pylist()]
    assert rows == [{"id": number, "note": f"note {number}"} for number in range(3000)]
    assert there.uploads() == []
    assert not [name for name in there.names() if "probe" in name]
    doctor = export.rivet("doctor")
    assert doctor.exit_code == 0, doctor
    for line in ("access key …", "conditional writes", "unfinished uploads", "lifecycle rule"):
        assert line in doctor.out
    assert there.server.admin.secret_key not in run.out + run.err + validated.out + doctor.out + doctor.err


def test_a_part_that_was_changed_at_the_store_is_found_by_its_checksum(place: Any, export: Any, use_keys: Any) -> None:
    export.configure(place, **use_keys(place.server.admin))
    assert export.rivet("run").exit_code == 0
    damaged = bytearray(place.get("part-000002.parquet"))
    damaged[50] ^= 1
    place.put("part-000002.parquet", bytes(damaged))
    validated = export.rivet("validate")
    assert validated.exit_code == 3, validated
    assert "part-000002.parquet" in validated.out + validated.err


def test_validating_downloads_no_part(place: Any, proxy: Any, export: Any, use_keys: Any) -> None:
    export.configure(place, through=proxy, **use_keys(place.server.admin))
    assert export.rivet("run").exit_code == 0
    proxy.forget()
    assert export.rivet("validate").exit_code == 0
    downloads = [exchange for exchange in proxy.exchanges if exchange.method == "GET" and "/part-" in exchange.path]
    assert downloads == []
