"""Reports as text and as JSON: plain where nobody looks, safe whatever a database or a manifest holds."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from rivet_core.api import register_secret
from rivet_core.cli.output import JsonOutput, TextOutput

PRINT = """
from rivet_core.cli.output import TextOutput

def render(text):
    text.line("2 exports", "strong")
    text.table(["EXPORT", "STATUS"], [["orders", "failed"], ["[bold]x[/]", "ok"]], styles={"failed": "bad"})

TextOutput().report({}, render)
"""


def test_text_in_a_pipe_is_plain(on_terminal):
    _, piped = on_terminal(PRINT, stream="stderr")
    assert piped == "2 exports\nEXPORT      STATUS\norders      failed\n[bold]x[/]  ok\n"


def test_text_on_a_terminal_has_colours_and_shows_markup_as_it_is(on_terminal):
    shown, _ = on_terminal(PRINT, stream="stdout")
    assert "\x1b[31mfailed" in shown
    assert "[bold]x[/]" in shown


def test_no_color_is_honoured(on_terminal):
    shown, _ = on_terminal(PRINT, stream="stdout", NO_COLOR="1")
    assert "2 exports" in shown
    assert "failed" in shown
    assert "\x1b[3" not in shown


def nothing(text: TextOutput) -> None:
    """A report whose text does not matter."""


def test_json_is_one_document_of_plain_types(capsys):
    day = datetime.date(2026, 11, 22)
    JsonOutput().report({"path": Path("a/b"), "day": day, "rows": 3, "parts": (1, None), "é": True}, nothing)
    assert json.loads(capsys.readouterr().out) == {
        "path": "a/b",
        "day": "2026-11-22",
        "rows": 3,
        "parts": [1, None],
        "é": True,
    }


def test_no_secret_in_either_form_not_even_one_that_json_quotes(capsys):
    register_secret('can"ary\\secret')
    JsonOutput().report({"nested": [{"url": 'x:can"ary\\secret@h'}]}, nothing)
    TextOutput().report({}, lambda text: text.table(["URL"], [['x:can"ary\\secret@h']]))
    shown = capsys.readouterr().out
    assert "ary" not in shown
    assert shown.count("x:***@h") == 2


def test_a_value_without_a_json_form_is_refused():
    with pytest.raises(TypeError, match="object has no place"):
        JsonOutput().report({"x": object()}, nothing)
