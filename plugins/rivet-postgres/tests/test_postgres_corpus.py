"""Inputs that fuzzing has found worth keeping, replayed: each gives the same rows or error however its bytes come."""

from __future__ import annotations

import pytest

from fuzz import postgres
from fuzz.replay import kept_beside, replay
from rivet_postgres.fields import Kind

CORPUS = kept_beside(__file__)


@pytest.mark.parametrize("first", range(16))
def test_kept_inputs_give_one_result_however_they_are_cut(first):
    """In sixteen parts, so that a failure names the input and workers share the time."""
    assert CORPUS
    replay(postgres.check, CORPUS[first::16])


def test_kept_inputs_have_columns_of_every_kind():
    """A new kind needs a place in ``fuzz/postgres.py`` and values in ``fuzz/seeds.py``."""
    assert {field.kind for path in CORPUS for field in postgres.case_of(path.read_bytes()).fields} == set(Kind)
