"""After any damage a plain ``rivet run`` publishes the source anew and destroys nothing that it did not write."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crash import observer
from integration.corruption.damages import (
    CONTROL_DAMAGES,
    FORGERIES,
    LIES,
    PART_DAMAGES,
    Damage,
    add_strangers,
    flip_a_byte,
    to_link,
)
from integration.corruption.published import Published, publish, write_source

HEALING = [damage for damage in [*CONTROL_DAMAGES, *FORGERIES, *LIES] if damage.heals]


def data_objects(prefix: Path) -> dict[str, bytes]:
    """Every regular file that is no control object, by key."""
    files = [path for path in prefix.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        key: path.read_bytes()
        for path in files
        for key in [path.relative_to(prefix).as_posix()]
        if key != "_SUCCESS" and not (key.startswith("manifest") and key.endswith(".json"))
    }


def rows_of(dataset: observer.Dataset) -> list[dict[str, object]]:
    if dataset.manifest["format"] == "parquet":
        return dataset.rows()
    rows: list[dict[str, object]] = []
    for part in dataset.parts:
        with part.open(newline="") as file:
            rows += [{"id": int(row["id"]), "note": row["note"]} for row in csv.DictReader(file)]
    return rows


def run_and_check(published: Published) -> None:
    """Run over a damaged prefix: the new rows are certified, every old byte is in place or in quarantine."""
    expected = write_source(published.directory / "shop.db", "second")
    before = data_objects(published.prefix)
    assert published.run() == 0
    dataset = observer.read_certified(published.prefix)
    assert dataset is not None
    assert rows_of(dataset) == expected
    after = data_objects(published.prefix)
    for key, data in before.items():
        ours = "/" not in key and key.startswith("part-")
        kept = f"_quarantine/{dataset.run_id}/{key}" if ours else key
        assert after.get(kept) == data, f"{key} is not at {kept} as it was"
    assert after.keys() == {
        *(part.name for part in dataset.parts),
        *(key for key in before if "/" in key or not key.startswith("part-")),
        *(f"_quarantine/{dataset.run_id}/{key}" for key in before if "/" not in key and key.startswith("part-")),
    }


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("damage", PART_DAMAGES, ids=str)
def test_parts_are_replaced(
    damage: Damage, suffix: str, published: Callable[..., Published], capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = published(suffix)
    damage.do(damaged)
    run_and_check(damaged)
    assert damaged.validate("--depth", "full") == 0
    assert "orders: verified\n" in capsys.readouterr().out


@pytest.mark.parametrize("damage", HEALING, ids=str)
def test_control_objects_are_replaced(
    damage: Damage, published: Callable[..., Published], capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = published()
    damage.do(damaged)
    add_strangers(damaged.prefix)
    run_and_check(damaged)
    assert damaged.validate("--depth", "full") == 0
    assert "orders: verified\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["_SUCCESS", "manifest.json", "the copy"])
@pytest.mark.parametrize("what", ["directory", "link"])
def test_what_is_no_file_at_a_control_object_is_left_alone_and_named(
    what: str, name: str, published: Callable[..., Published], capsys: pytest.CaptureFixture[str]
) -> None:
    obstructed = published()
    obstacle = obstructed.copy if name == "the copy" else obstructed.prefix / name
    if what == "link":
        to_link(obstacle)
    else:
        obstacle.unlink()
        obstacle.mkdir()
        (obstacle / "stranger").write_text("not ours")
    before = data_objects(obstructed.prefix)
    capsys.readouterr()
    assert obstructed.run("--json") not in {0, 2, 3}
    (result,) = json.loads(capsys.readouterr().out)["runs"]
    assert result["error"]["code"] != "R999"
    assert obstacle.name in result["error"]["message"]
    after = data_objects(obstructed.prefix)
    assert before.items() <= after.items()

    if what == "link":
        obstacle.unlink()
    else:
        shutil.rmtree(obstacle)
    run_and_check(obstructed)


def test_damaged_parts_are_kept_even_where_superseded_ones_are_deleted(tmp_path: Path) -> None:
    published = publish(tmp_path / "shop", "parquet", settings="{superseded: delete}")
    flipped, truncated, *intact = published.parts
    flip_a_byte(flipped)
    truncated.write_bytes(truncated.read_bytes()[:-1])
    untracked = published.prefix / "part-000050.parquet"
    untracked.write_bytes(b"untracked")
    damaged = {path.name: path.read_bytes() for path in (flipped, truncated, untracked)}
    assert published.run() == 0
    run_id = published.manifest["run_id"]
    quarantine = {path.name: path.read_bytes() for path in (published.prefix / "_quarantine" / run_id).iterdir()}
    assert quarantine == damaged
    assert not any(path.exists() for path in intact)
