"""Placeholders, parameters and sizes."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from rivet_core.api import ConfigError, UsageError
from rivet_core.api.fields import parse_size
from rivet_core.config import Placeholders, parse_params, placeholders_in, resolve

VALUES = Placeholders(date(2026, 11, 22), "Größe 2", "orders", "orders_1")


def test_all_of_them():
    template = "a/{date}/{export}/{table}/{run_id}/{{x}}"
    assert placeholders_in(template) == {"date", "export", "table", "run_id"}
    assert resolve(template, VALUES) == "a/2026-11-22/Größe 2/orders/orders_1/{x}"
    assert placeholders_in("{{date}}") == set()


@pytest.mark.parametrize(
    "template", ["{", "}", "{}", "{0}", "{dates}", "{date!r}", "{date.year}", "{date[0]}", "{date:x}"]
)
def test_malformed_templates(template):
    with pytest.raises(ConfigError):
        placeholders_in(template)


def test_an_unknown_run_id_says_how_to_name_it():
    with pytest.raises(ConfigError) as caught:
        resolve("x/{run_id}", Placeholders(date(2026, 11, 22), "a", "a"))
    assert "--run-id" in caught.value.hint


@given(st.text(max_size=20))
def test_a_value_never_adds_a_path_segment(value):
    try:
        resolved = resolve("a/{table}/b", Placeholders(date(2026, 11, 22), "x", value))
    except ConfigError:
        return
    assert resolved.split("/") == ["a", value, "b"]
    assert value not in ("", ".", "..")
    assert "\\" not in value
    assert "\0" not in value


def test_params():
    assert parse_params([]) == {}
    assert parse_params(["a=1", "b=", "_c=x=y"]) == {"a": "1", "b": "", "_c": "x=y"}


@pytest.mark.parametrize("items", [["s3cr3t"], ["=s3cr3t"], ["a-b=s3cr3t"], ["1a=s3cr3t"], ["a=1", "a=s3cr3t"]])
def test_wrong_params_are_refused_without_showing_the_value(items):
    with pytest.raises(UsageError) as caught:
        parse_params(items)
    assert "s3cr3t" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "size"),
    [(5, 5), ("5", 5), ("5B", 5), ("1KB", 1000), ("1KiB", 1024), ("1.5 GB", 1_500_000_000), (" 2TiB ", 2 * 2**40)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", [0, -1, 1.5, True, None, "", "MB", "5M", "5 mb", "1.0001KiB", "1e3", "-1MB", "٥"])
def test_no_sizes(text):
    with pytest.raises(PydanticCustomError):
        parse_size(text)
