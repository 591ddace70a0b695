"""What users get wrong in the file and on the command line: all of it at once, with its place, before anything runs."""

from __future__ import annotations

import json

import pytest

from integration.failures.command import Workspace, sqlite_table

SOURCE = {"type": "sqlite", "database": "shop.db"}


@pytest.fixture
def shop(workspace: Workspace) -> Workspace:
    """Three exports; the table of ``broken`` is not there."""
    sqlite_table(
        workspace.directory / "shop.db",
        "CREATE TABLE orders (id INTEGER NOT NULL)",
        "INSERT INTO orders VALUES (1), (2), (3)",
        "CREATE TABLE items (id INTEGER NOT NULL)",
    )
    export = {"destination": {"type": "local", "path": "out/{export}"}}
    workspace.configure(
        SOURCE,
        {**export, "table": "orders"},
        {**export, "table": "gone", "name": "broken"},
        {**export, "query": "SELECT id FROM orders WHERE id > ${low} AND id < ${high}", "name": "some"},
    )
    return workspace


def test_all_problems_of_the_file_at_once(workspace: Workspace) -> None:
    (workspace.directory / "rivet.yaml").write_text(
        """\
source: {type: sqlite, database: shop.db}
exports:
  - name: orders
    table: orders
    compresion: zstd
    destination: {type: local, path: "${UNDEFINED_VARIABLE}/out"}
  - name: items
    table: items
    max_file_size: many
    destination: {type: s4, path: out}
""",
        encoding="utf-8",
    )
    for command in ("run", "validate", "doctor"):
        finished = workspace.rivet(command)
        assert (finished.exit_code, finished.out) == (2, "")
        lines = finished.err.splitlines()
        assert lines[0] == "error[R201]: the configuration has 4 problems"
        problems = [line.strip() for line in lines[1:] if line.startswith("  rivet.yaml:")]
        for problem, place in zip(
            problems,
            (
                "rivet.yaml:5: exports[0].compresion: ",
                "rivet.yaml:6: exports[0].destination.path: ",
                "rivet.yaml:9: exports[1].max_file_size: ",
                "rivet.yaml:10: exports[1].destination.type: ",
            ),
            strict=True,
        ):
            assert problem.startswith(place)
        assert 'did you mean "compression"?' in finished.err
        assert "UNDEFINED_VARIABLE" in problems[1]
        assert "Traceback" not in finished.err
    assert sorted(path.name for path in workspace.directory.iterdir()) == ["rivet.yaml"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("source: {type: sqlite\nexports: []\n", "rivet.yaml:2"),
        ("source:\n\t- tab\n", "rivet.yaml:2"),
        ("source: &a [*a, *missing]\n", "rivet.yaml:1"),
        ("", "rivet.yaml"),
        ("just text", "rivet.yaml"),
    ],
)
def test_broken_yaml(workspace: Workspace, text: str, place: str) -> None:
    (workspace.directory / "rivet.yaml").write_text(text, encoding="utf-8")
    finished = workspace.rivet("run")
    assert finished.exit_code == 2
    assert finished.err.startswith("error[R201]: ")
    assert place in finished.err
    assert "Traceback" not in finished.err
    assert finished.err.count("error[") == 1


def test_missing_file(workspace: Workspace) -> None:
    workspace.rivet("run").failed(2, "R201", "there is no file rivet.yaml", hint="check the path")
    workspace.rivet("run", "-c", ".").failed(2, "R101", "directory")


def test_parameters(shop: Workspace) -> None:
    some = ("run", "-e", "some")
    shop.rivet(*some, "--param", "low=0").failed(2, "R101", "'some'", "high", hint="--param high=VALUE")
    shop.rivet(*some, "--param", "lwo=0").failed(2, "R101", "lwo", hint="binds in use: high, low")
    shop.rivet(*some, "--param", "low").failed(2, "R101", "name=value", hint="--param")
    shop.rivet("run", "-e", "orders", "--param", "low=0").failed(2, "R101", "low", hint="none")
    assert not shop.out.exists()
    shop.rivet(*some, "--param", "low=1", "--param", "high=3").succeeded()


def test_unknown_export(shop: Workspace) -> None:
    for command in ("run", "validate", "doctor"):
        shop.rivet(command, "-e", "ordres").failed(2, "R101", '"ordres"', hint='did you mean "orders"?')
    assert not shop.out.exists()


def test_one_failing_export_does_not_stop_the_others(shop: Workspace) -> None:
    finished = shop.rivet(
        "run", "-e", "some", "-e", "broken", "-e", "orders", "--param", "low=0", "--param", "high=9",
        "--json", "--summary-output", "reports/summary.json",
    )  # fmt: skip
    assert (finished.exit_code, finished.err) == (2, "")
    document = finished.document
    runs = {run["export"]: run for run in document["runs"]}
    assert list(runs) == ["orders", "broken", "some"]
    assert [run["status"] for run in runs.values()] == ["succeeded", "failed", "succeeded"]
    assert [run["rows"] for run in runs.values()] == [3, 0, 3]
    assert document["exit_code"] == 2
    assert runs["broken"]["error"]["code"] == "R304"
    assert runs["broken"]["error"]["hint"]
    assert sorted(path.name for path in shop.out.iterdir() if (path / "_SUCCESS").exists()) == ["orders", "some"]
    assert json.loads((shop.directory / "reports/summary.json").read_text()) == document
    for run in runs.values():
        left = shop.directory / ".rivet" / "runs" / run["run_id"] / "summary.json"
        assert json.loads(left.read_text()) == run


def test_text_and_json_say_the_same(shop: Workspace) -> None:
    text = shop.rivet("run", "-e", "orders", "-e", "broken")
    (good, bad) = shop.rivet("run", "-e", "orders", "-e", "broken", "--json").document["runs"]
    assert text.exit_code == bad["error"]["exit_code"] == 2
    assert f"orders: {good['rows']} rows, {good['parts']} part" in text.out
    assert good["prefix"] in text.out
    assert "broken: failed in" in text.out
    assert text.err == f"error[{bad['error']['code']}]: {bad['error']['message']}\nhint: {bad['error']['hint']}\n"

    text = shop.rivet("validate", "-e", "orders")
    (report,) = shop.rivet("validate", "-e", "orders", "--json").document["reports"]
    for fact in (report["verdict"], report["meaning"], report["resolved_prefix"], f"{report['rows']} rows"):
        assert fact in text.out

    shop.rivet("doctor", "-e", "broken")  # makes the directory, which the next ones find
    text = shop.rivet("doctor", "-e", "broken")
    document = shop.rivet("doctor", "-e", "broken", "--json").document
    assert text.exit_code == 1
    assert document["failed"] == 1
    for check in document["checks"]:
        assert f"{check['subject']}: {check['name']}: {check['message']}" in text.out
        assert check["status"] == "ok" or check["hint"] in text.out

    text, parsed = shop.rivet("run", "-e", "nobody"), shop.rivet("run", "-e", "nobody", "--json").document["error"]
    assert text.err == f"error[{parsed['code']}]: {parsed['message']}\nhint: {parsed['hint']}\n"
    assert text.exit_code == parsed["exit_code"]


def test_summary_that_cannot_be_written(shop: Workspace) -> None:
    (shop.directory / "file").touch()
    finished = shop.rivet("run", "-e", "orders", "--summary-output", "file/summary.json")
    finished.failed(2, "R101", "cannot write file/summary.json", hint="the runs themselves are done")
    assert (shop.out / "orders" / "_SUCCESS").exists()
