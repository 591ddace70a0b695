"""``rivet plugins list --conformance`` shows what a report of the conformance kit says of the installed plugins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rivet_core.cli.main import main
from rivet_local import __version__

SUITE = {"plugin": "rivet-local", "version": __version__, "kind": "destination", "name": "local", "verdict": "passed"}


def write(path: Path, *suites: dict[str, Any], **fields: object) -> str:
    path.write_text(json.dumps({"report_version": 1, "kit": "0.1.0", "suites": list(suites), **fields}), "utf-8")
    return str(path)


def test_verdicts_stand_beside_the_plugins_that_they_are_about(tmp_path, capsys):
    passed = write(tmp_path / "a.json", SUITE, {**SUITE, "name": "another"}, {**SUITE, "plugin": None})
    older = write(tmp_path / "b.json", {**SUITE, "version": "0.0.9", "verdict": "failed"})
    assert main(["plugins", "list", "--conformance", passed, "--conformance", older]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines["PLUGIN"].endswith("CONFORMANCE")
    assert lines["local"].endswith("local passed, local failed (0.0.9)")
    assert lines["builtin"].endswith("-")


def test_json_has_the_same_facts(tmp_path, capsys):
    assert main(["plugins", "list", "--json", "--conformance", write(tmp_path / "a.json", SUITE)]) == 0
    plugins = {plugin["name"]: plugin for plugin in json.loads(capsys.readouterr().out)["plugins"]}
    assert plugins["local"]["conformance"] == [{**SUITE, "kit": "0.1.0"}]
    assert plugins["builtin"]["conformance"] == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is no report of the conformance kit"),
        ("[]", "is no report of the conformance kit"),
        ("[" * 100_000, "is no report of the conformance kit"),
        ('{"report_version": 2}', "has version 2, this release reads 1"),
        ('{"report_version": 1, "kit": "1", "suites": [{"plugin": "x"}]}', "is no report of the conformance kit"),
        ("\ud800".encode("utf-8", "surrogatepass"), "is no report of the conformance kit"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, capsys, content, why):
    path = tmp_path / "report.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["plugins", "list", "--conformance", str(path)]) == 2
    assert why in capsys.readouterr().err


def test_a_report_that_is_not_there_is_refused(tmp_path, capsys):
    assert main(["plugins", "list", "--conformance", str(tmp_path / "absent.json")]) == 2
    assert "cannot read the report" in capsys.readouterr().err
