"""YAML as it is read: duplicate keys, anchors, merge keys, variables, brackets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_core.config import ConfigProblems
from rivet_core.config.document import read_document
from rivet_core.config.problems import ProblemCollector


def read(text, environ=None, is_verbatim=lambda path: False):
    problems = ProblemCollector("rivet.yaml")
    document = read_document(text, problems, environ=environ or {}, is_verbatim=is_verbatim)
    if problems:
        raise problems.error()
    return document


def problem(text, environ=None):
    with pytest.raises(ConfigProblems) as caught:
        read(text, environ)
    (only,) = caught.value.problems
    return only


def test_scalars_and_keys():
    text = "a: 1\nb: 1.5\nc: true\nd: null\ne:\nf: text\n7: x\non: y\ng: 2026-11-22\n'null': z\nh: !!str 5\n"
    assert read(text).data == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": None,
        "e": None,
        "f": "text",
        "7": "x",
        "on": "y",
        "g": "2026-11-22",
        "null": "z",
        "h": "5",
    }


def test_positions_are_those_of_keys_and_items():
    document = read("a:\n  b:\n    - x\n    - c: 1\n")
    assert document.position(("a", "b")) == (2, 3)
    assert document.position(("a", "b", 1, "c")) == (4, 7)
    assert document.position(("a", "b", 1, "missing")) == (4, 7)


def test_duplicate_keys_name_both_lines():
    found = problem("a:\n  x: 1\n  y: 2\n  x: 3\n")
    assert (found.line, found.field) == (4, "a.x")
    assert "on line 2 and on line 4" in found.message


def test_anchors_and_merge_keys():
    text = """\
base: &base {path: out, keep: 1}
more: &more {path: other, extra: 2}
one: {<<: *base, path: mine}
two: {<<: [*base, *more]}
three: *base
"""
    data = read(text).data
    assert data["one"] == {"path": "mine", "keep": 1}
    assert data["two"] == {"path": "out", "keep": 1, "extra": 2}
    assert data["three"] == data["base"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]\n", "an alias contains itself"),
        ("a: &a {b: *a}\n", "an alias contains itself"),
        ("a: &a {<<: *a}\n", "<< takes a mapping"),
        ("a: {<<: 5}\n", "<< takes a mapping"),
        ("? [a]\n: 1\n", "a key must be text"),
        ("a: !!set {x}\n", "YAML tags"),
    ],
)
def test_refused(text, message):
    assert message in problem(text).message


def test_a_small_file_cannot_expand_to_a_huge_document():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
    )
    assert "expand to too many values" in problem(bomb).message
    merges = "m0: &m0 {a: 1}\n" + "".join(
        f"m{level}: &m{level} {{<<: [{', '.join([f'*m{level - 1}'] * 10)}]}}\n" for level in range(1, 12)
    )
    assert "expand to too many values" in problem(merges).message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{amount: decimal(18,2)}", {"amount": "decimal(18,2)"}),
        ("{amount: decimal(18, 2), b: int64}", {"amount": "decimal(18, 2)", "b": "int64"}),
        ("{s: struct<a:int64,b:decimal(3,1)>}", {"s": "struct<a:int64,b:decimal(3,1)>"}),
        ("{a: 'quoted(', b: }", {"a": "quoted(", "b": None}),
        ("{a: x<1, b: 2}", {"a": "x<1", "b": 2}),
    ],
)
def test_unquoted_commas_inside_brackets_of_a_value(text, value):
    assert read(f"columns: {text}\n").data == {"columns": value}


class TestVariables:
    def test_forms(self):
        environ = {"HOST": "db", "EMPTY": "", "NESTED": "${HOST}"}
        text = "a: x${HOST}y\nb: ${NONE:-none}\nc: ${EMPTY:-none}\nd: '$${HOST}'\ne: ${NESTED}\n"
        text += "f: $HOST $$ 5$\ng: ${EMPTY}\n"
        assert read(text, environ).data == {
            "a": "xdby",
            "b": "none",
            "c": "none",
            "d": "${HOST}",
            "e": "${HOST}",
            "f": "$HOST $$ 5$",
            "g": "",
        }

    def test_a_value_never_changes_the_structure(self):
        hostile = "x: y\nz: [1, {a: b}] # no\n- *c !!tag"
        assert read("a: ${V}\nb: 1\n", {"V": hostile}).data == {"a": hostile, "b": 1}

    def test_digits_stay_text_so_that_a_password_of_digits_is_one(self):
        assert read("password: ${V}\n", {"V": "0123"}).data == {"password": "0123"}

    def test_verbatim_values(self):
        text = "query: select ${name}\nother: ${name:-x}\n"
        data = read(text, is_verbatim=lambda path: path == ("query",)).data
        assert data == {"query": "select ${name}", "other": "x"}

    def test_undefined(self):
        found = problem("a:\n  b: ${NOT_SET}\n")
        assert (found.line, found.field) == (2, "a.b")
        assert found.message == "the environment variable NOT_SET is not set"
        assert "${NOT_SET:-default}" in found.hint

    @pytest.mark.parametrize("text", ["'${'", "'${}'", "'${A'", "'${1A}'", "'${a b}'", "'${A-x}'"])
    def test_malformed(self, text):
        assert problem(f"a: {text}\n", {"A": "x"}).message == "a ${ that is no ${VARIABLE}"


def test_an_undefined_variable_is_one_problem_not_two(problems_of):
    found = problems_of("""\
        source: {type: postgres, url: "${DATABASE_URL}", port: "${PORT}"}
        memory_budget: ${BUDGET}
        exports:
          - {name: a, table: t, destination: {type: "${KIND}"}}
          - {name: b, query_file: "${FILE}", destination: {type: local, path: "${ROOT}/{date}"}}
        """)
    assert [(line, field) for line, field, _, _ in found] == [
        (1, "source.url"),
        (1, "source.port"),
        (2, "memory_budget"),
        (4, "exports[0].destination.type"),
        (5, "exports[1].query_file"),
        (5, "exports[1].destination.path"),
    ]
    assert {message.rpartition(" is not set")[1] for _, _, message, _ in found} == {" is not set"}


@given(st.text(alphabet=st.sampled_from("ab:-[]{},&*!|>'\"%@`#?<\n\t $\\0é\x07"), max_size=60))
def test_any_text_is_read_or_refused_with_problems(text):
    with suppress(ConfigProblems):
        read(text)
