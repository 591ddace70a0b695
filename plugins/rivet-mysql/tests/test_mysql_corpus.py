"""Inputs that fuzzing has found worth keeping, replayed: each gives the same rows or error however its bytes come."""

from __future__ import annotations

import pytest

from fuzz import mysql
from fuzz.replay import kept_beside, replay
from rivet_mysql.fields import Form, Kind

CORPUS = kept_beside(__file__)


@pytest.mark.parametrize("first", range(16))
def test_kept_inputs_give_one_result_however_they_are_cut(first):
    """In sixteen parts, so that a failure names the input and workers share the time."""
    assert CORPUS
    replay(mysql.check, CORPUS[first::16])


def test_kept_inputs_have_columns_of_every_kind_and_form():
    """A new one needs a place in ``fuzz/mysql.py`` and values in ``fuzz/seeds.py``."""
    fields = [field for path in CORPUS for field in mysql.case_of(path.read_bytes()).fields]
    assert {field.kind for field in fields} == set(Kind)
    assert {field.form for field in fields} == set(Form)
