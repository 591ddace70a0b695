"""Inputs that fuzzing has found worth keeping, replayed: each gives the same rows or error however its bytes come."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import postgres
from rivet_postgres.fields import Kind

CORPUS = sorted(path for path in Path(__file__).with_name("corpus").iterdir())


@pytest.mark.parametrize("first", range(16))
def test_kept_inputs_give_one_result_however_they_are_cut(first):
    """In sixteen parts, so that a failure names the input and workers share the time."""
    assert CORPUS
    for path in CORPUS[first::16]:
        try:
            postgres.check(path.read_bytes(), thorough=True)
        except AssertionError as error:
            raise AssertionError(path.name) from error


def test_kept_inputs_have_columns_of_every_kind():
    """A new kind needs a place in ``fuzz/postgres.py`` and values in ``fuzz/seeds.py``."""
    assert {field.kind for path in CORPUS for field in postgres.case_of(path.read_bytes()).fields} == set(Kind)
