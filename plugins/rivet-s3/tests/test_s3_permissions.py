"""The permissions that the documentation names are enough for each command, and each of them is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs/destinations/s3.md"
DOCUMENTED = {
    command: tuple(re.findall(r"`(s3:\w+)`", actions))
    for command, actions in re.findall(r"^\| `rivet (\w+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_run_needs_what_is_documented(moto_place: Any, moto: Any, export: Any, use_keys: Any) -> None:
    export.configure(moto_place, **use_keys(moto.create_user(DOCUMENTED["run"])))
    for _ in range(2):  # the second one moves the first one's parts to quarantine
        run = export.rivet("run", "--validate")
        assert (run.exit_code, "warning" in run.err.lower()) == (0, False), run
    assert len([name for name in moto_place.names() if name.startswith("_quarantine/")]) == 3


def test_validate_needs_what_is_documented(moto_place: Any, moto: Any, export: Any, use_keys: Any) -> None:
    export.configure(moto_place, **use_keys(moto.admin))
    assert export.rivet("run").exit_code == 0
    use_keys(moto.create_user(DOCUMENTED["validate"]))
    assert export.rivet("validate").exit_code == 0


@pytest.mark.parametrize("missing", ["s3:ListBucket", "s3:GetObject", "s3:PutObject"])
def test_without_one_of_them_nothing_is_published(
    moto_place: Any, moto: Any, export: Any, use_keys: Any, missing: str
) -> None:
    keys = moto.create_user([action for action in DOCUMENTED["run"] if action != missing])
    export.configure(moto_place, **use_keys(keys))
    run = export.rivet("run")
    assert (run.exit_code, "error[R403]" in run.err) == (1, True), run
    assert missing in run.err
    assert "_SUCCESS" not in moto_place.names()


def test_without_delete_superseded_parts_stay_and_a_warning_says_so(
    moto_place: Any, moto: Any, export: Any, use_keys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    export.configure(moto_place, **use_keys(moto.admin))
    assert export.rivet("run").exit_code == 0
    first = set(moto_place.names())
    use_keys(moto.create_user([action for action in DOCUMENTED["run"] if action != "s3:DeleteObject"]))
    run = export.rivet("run")
    assert run.exit_code == 0, run
    assert caplog.text.count("could not be moved to quarantine: cannot delete") == 3
    assert first <= set(moto_place.names())
