"""``rivet clean`` as users run it: it shows first, removes on request, and stays out of the way of a run."""

from __future__ import annotations

import os
import shlex
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from integration.failures.command import Workspace, finish, mount_or_skip
from integration.failures.long_run import LONG_QUERIES, start_long_run

RUN = "orders_20260101T000000.000_9f3a"
MANY = 3000


def leave(workspace: Workspace, *names: str, days_old: float = 30) -> list[Path]:
    """Put old leftovers of ten bytes beside the dataset."""
    moment = (datetime.now(UTC) - timedelta(days=days_old)).timestamp()
    paths = [workspace.out / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0123456789")
        os.utime(path, (moment, moment))
    return paths


LEFTOVERS = (
    f"_quarantine/{RUN}/part-000001.parquet",
    ".rivet-tmp-0123456789abcdef-part-000007.parquet",
    "_rivet_doctor_01234567",
)


def test_it_shows_first_and_removes_on_request(published: Workspace) -> None:
    dataset = published.output()
    leave(published, *LEFTOVERS)
    stranger = leave(published, "_quarantine/readme.txt")[0]
    littered = published.output()

    shown = published.rivet("clean")
    shown.succeeded()
    assert published.output() == littered
    for fact in ("part-000001.parquet", "30.0 days", "10 B", "moved aside by a run", "part-000007.parquet"):
        assert fact in shown.out
    assert "3 objects found, 30 B" in shown.out
    assert "_quarantine/readme.txt stays" in shown.out
    assert "repeat it with --execute" in shown.out

    removed = published.rivet("clean", "--execute", "--json")
    removed.succeeded()
    (report,) = removed.document["reports"]
    assert (removed.document["executed"], removed.document["older_than_days"]) == (True, 7)
    assert {item["kind"]: item["status"] for item in report["items"]} == {
        "quarantine": "removed",
        "unfinished_upload": "removed",
        "probe": "removed",
    }
    assert report["totals"]["removed"] == {"objects": 3, "bytes": 30}
    assert report["resolved_prefix"] == f"file://{published.out}/"
    stranger.unlink()
    assert published.output() == dataset
    published.rivet("validate").succeeded()
    published.rivet("clean", "--execute").succeeded()


def test_how_old_is_for_the_user_to_say(published: Workspace) -> None:
    (path,) = leave(published, f"_quarantine/{RUN}/part-000001.parquet", days_old=3)
    assert "1 younger than 7 days" in published.rivet("clean", "--execute").out
    assert path.exists()
    published.rivet("clean", "--execute", "--older-than", "2").succeeded()
    assert not path.exists()
    assert "-1 is not in the range" in published.rivet("clean", "--older-than", "-1").err


def test_a_removal_that_is_refused_is_named_and_the_others_go_on(published: Workspace) -> None:
    refused, *others = leave(published, *LEFTOVERS)
    directory = shlex.quote(str(refused.parent))
    *shell, script = mount_or_skip(f"mount --bind {directory} {directory}", f"mount -o remount,ro,bind {directory}")
    inside = [*shell, f"{script}; exit $code", "sh"]
    finished = finish(published.start("clean", "--execute", "--json", inside=inside))
    assert finished.exit_code == 1
    (report,) = finished.document["reports"]
    statuses = {item["kind"]: (item["status"], item["error"]) for item in report["items"]}
    status, error = statuses.pop("quarantine")
    assert status == "failed"
    assert "Read-only file system [R403]" in error
    assert set(statuses.values()) == {("removed", None)}
    assert refused.exists()
    assert not any(path.exists() for path in others)

    finished = finish(published.start("clean", "--execute", inside=inside))
    assert finished.exit_code == 1
    assert f"{refused.name}: cannot delete" in finished.out
    assert "1 object failed, 10 B" in finished.out
    published.rivet("clean", "--execute").succeeded()
    assert not refused.exists()


def test_killed_half_way_the_next_one_finishes(published: Workspace) -> None:
    dataset = published.output()
    paths = leave(published, *(f"_quarantine/{RUN}/part-{number:06}.parquet" for number in range(1, MANY)))
    process = published.start("clean", "--execute")
    while paths[20].exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert finish(process).exit_code == -signal.SIGKILL
    left = [path for path in paths if path.exists()]
    assert 0 < len(left) < len(paths)
    finished = published.rivet("clean", "--execute", "--json")
    finished.succeeded()
    (report,) = finished.document["reports"]
    assert report["totals"]["removed"]["objects"] == len(left)
    assert published.output() == dataset


def test_an_export_that_is_being_run_is_left_alone(workspace: Workspace) -> None:
    (workspace.directory / "empty.db").touch()
    workspace.configure({"type": "sqlite", "database": "empty.db"}, {"query": LONG_QUERIES["sqlite"], "format": "csv"})
    run = start_long_run(workspace)
    (temporary,) = workspace.out.glob(".rivet-tmp-*")
    (old,) = leave(workspace, f"_quarantine/{RUN}/part-000001.csv")
    refused = workspace.rivet("clean", "--execute", "--older-than", "0")
    assert (refused.exit_code, refused.out) == (5, "orders: not cleaned\n")
    assert refused.err.startswith(f"error[R702]: export 'orders' is being run by process {run.pid} ")
    refused = workspace.rivet("clean", "--execute", "--older-than", "0", "--json")
    assert refused.document["reports"][0]["error"]["code"] == "R702"
    assert temporary.exists()
    assert old.exists()
    run.send_signal(signal.SIGKILL)
    finish(run)
    workspace.rivet("clean", "--execute", "--older-than", "0").succeeded()
    assert [path for path in workspace.out.rglob("*") if path.is_file()] == []


def test_a_dry_run_writes_nothing_and_asks_for_no_state(published: Workspace) -> None:
    leave(published, *LEFTOVERS)
    published.environment["RIVET_STATE_URL"] = "sqlite:////nowhere/at/all.db"
    published.rivet("clean").succeeded()
    refused = published.rivet("clean", "--execute")
    assert refused.exit_code == 1
    assert "error[R801]" in refused.err
    assert len(list(published.out.rglob("part-000001.parquet"))) == 2


def test_one_prefix_of_one_export_in_a_store(published: Workspace) -> None:
    published.configure(
        {"type": "sqlite", "database": "shop.db"},
        {"table": "orders", "destination": {"type": "local", "path": "out/{date}"}},
        {"table": "orders", "name": "again", "destination": {"type": "local", "path": "again"}},
        {"table": "orders", "name": "piped", "destination": {"type": "stdout"}},
    )
    leave(published, f"2026-01-01/_quarantine/{RUN}/part-000001.parquet")
    assert "1 object found" not in published.rivet("clean", "-e", "orders").out
    for arguments in (("--date", "2026-01-01"), ("--prefix", "out/2026-01-01")):
        assert "1 object found, 10 B" in published.rivet("clean", "-e", "orders", *arguments).out
    published.rivet("clean", "--prefix", "out").failed(2, "R101", "2 exports", hint="-e NAME")
    published.rivet("clean", "-e", "piped").failed(2, "R101", "a stream leaves nothing", hint="into a store")
