"""The JSON files that a run leaves: atomic, valid, free of secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rivet_core.api import register_secret
from rivet_core.engine.result import write_json


def test_a_secret_is_removed_before_quoting_can_disguise_it(tmp_path: Path) -> None:
    secret = 'pa"ss\\wörd\n1'
    register_secret(secret)
    write_json(tmp_path / "summary.json", {secret: [f"refused {secret}", {"url": f"x://u:{secret}@h"}]})
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"***": ["refused ***", {"url": "x://u:***@h"}]}


def test_a_file_name_that_is_no_unicode_is_written_as_json_writes_it(tmp_path: Path) -> None:
    name = os.fsdecode(b"/data/caf\xe9")
    write_json(tmp_path / "summary.json", {"message": name})
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == {"message": name}


def test_what_cannot_be_written_leaves_the_old_document_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "summary.json"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        write_json(target, {})
    assert list(tmp_path.iterdir()) == [target]
