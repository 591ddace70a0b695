"""The user's SQL passes verbatim: binds are found where the engine sees SQL, and nowhere else."""

from __future__ import annotations

import re
import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rivet_core.api import QueryError
from rivet_core.api.sql import arguments, find_binds, render, single_statement, wrap

DIALECTS = ["sqlite", "postgresql", "mysql", "mssql", "oracle"]
dialects = st.sampled_from(DIALECTS)
# Texts made of what the tokenizer must tell apart, with every quote possibly left open.
TOKENS = r"""' " ` [ ] -- # /* */ /*! ; \ $$ $t$ E' % :x ${a} ${b_1} a 1 é 🦔 SELECT"""
fragments = st.lists(st.sampled_from([*TOKENS.split(), "-- ", " ", "\n"]), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("dialect", "text", "binds"),
    [
        ("sqlite", "SELECT ${a}, ${b}, ${a}", ("a", "b")),
        ("sqlite", "SELECT '${a}', \"${b}\", `${c}`, [${d}] -- ${e}\n/* ${f} */ ${g}", ("g",)),
        ("sqlite", "SELECT 'it''s ${a}' || ${b}", ("b",)),
        ("sqlite", r"SELECT 'C:\' || ${a}", ("a",)),
        ("sqlite", "/* /* */ ${a}", ("a",)),
        ("postgresql", "SELECT x[1], ${a}", ("a",)),
        ("postgresql", "SELECT $$ ${a} $$, $t$ $$ ${b} $t$, ${c}", ("c",)),
        ("postgresql", "SELECT a$b$ + ${c} + d$b$", ("c",)),
        ("postgresql", "/* /* */ ${a} */ ${b}", ("b",)),
        ("postgresql", r"SELECT E'it\'s ${a}', e'a''\'${b}', 'C:\', ${c}", ("c",)),
        ("postgresql", "SELECT data #> '{a}' , ${a}", ("a",)),
        ("postgresql", "SELECT ${a}::int, $1", ("a",)),
        ("mysql", r"""SELECT 'it\'s ${a}', "\"${b}", ${c}""", ("c",)),
        ("mysql", "SELECT 5--${a} # ${b}\n", ("a",)),
        ("mysql", "SELECT 5 -- ${a}\n, ${b}", ("b",)),
        ("mysql", "SELECT 1 /*! + ${a} */", ("a",)),
        ("mssql", "SELECT [${a}], ${b}", ("b",)),
        ("oracle", "SELECT [${a}]", ("a",)),
    ],
)
def test_binds_are_found_outside_quotes_and_comments(dialect, text, binds):
    assert find_binds(text, dialect) == binds


@given(fragments, dialects)
def test_text_without_binds_comes_back_byte_for_byte(text, dialect):
    if find_binds(text, dialect) == ():
        for style in ("qmark", "pyformat", "format", "named", "numeric"):
            assert render(text, dialect, style) == (text, ())


@given(fragments, dialects)
def test_a_formatting_driver_sees_the_text_it_was_meant_to_see(text, dialect):
    rendered, names = render(text, dialect, "pyformat")
    if names:
        shown = rendered % {name: f"${{{name}}}" for name in names}
        assert shown == text


@given(fragments, dialects)
def test_positional_placeholders_and_names_correspond(text, dialect):
    rendered, names = render(text, dialect, "numeric_dollar")
    assert set(names) == set(find_binds(text, dialect))
    _, order = render(text, dialect, "qmark")
    assert list(dict.fromkeys(order)) == list(names)
    for number, name in enumerate(names, start=1):
        assert f"${number}" in rendered, name


@given(st.text(), dialects)
def test_a_value_quoted_by_doubling_never_binds(value, dialect):
    quoted = value.replace("'", "''")
    if dialect == "mysql":
        quoted = quoted.replace("\\", "\\\\")
    assert find_binds(f"SELECT '{quoted}${{a}}', ${{b}}", dialect) == ("b",)


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=("Cs",))))
def test_sqlite_agrees_about_where_a_string_ends(value):
    text, names = render("SELECT ${x}, '" + value.replace("'", "''") + "' /* ' */ -- '", "sqlite", "qmark")
    with sqlite3.connect(":memory:") as connection:
        row = connection.execute(text, arguments(names, {"x": value}, "qmark")).fetchone()
    connection.close()
    assert row == (value, value)


@example("--;", "mysql")
@given(fragments, dialects)
def test_one_statement_stays_one(text, dialect):
    try:
        statement = single_statement(text, dialect)
    except QueryError:
        return
    assert statement in text
    # To MySQL `--` is two minus signs before the semicolon, but a comment at the end: invalid SQL either way.
    if not (dialect == "mysql" and statement.endswith("--")):
        assert single_statement(statement, dialect) == statement


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("SELECT 1 ; ; -- done\n /* really; */ ", "SELECT 1"),
        ("SELECT ';' -- a;b", "SELECT ';' -- a;b"),
        (" -- first\nSELECT 1", "-- first\nSELECT 1"),
    ],
)
def test_a_trailing_semicolon_goes(text, statement):
    assert single_statement(text, "postgresql") == statement


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE t; --", "SELECT $$;$$; $$x$$"])
def test_two_statements_are_refused(text):
    with pytest.raises(QueryError, match="more than one statement"):
        single_statement(text, "postgresql")


def test_code_in_a_mysql_comment_counts_as_a_statement():
    with pytest.raises(QueryError, match="more than one statement"):
        single_statement("SELECT 1; /*! DROP TABLE t */", "mysql")


@pytest.mark.parametrize("text", ["", " ", "-- nothing", ";", "/* */;"])
def test_an_empty_query_is_refused(text):
    with pytest.raises(QueryError, match="empty"):
        single_statement(text, "sqlite")


@pytest.mark.parametrize("text", ["SELECT ${}", "SELECT ${1a}", "SELECT ${a-b}", "SELECT ${a"])
def test_a_malformed_bind_is_named(text):
    with pytest.raises(QueryError, match="character 8"):
        find_binds(text, "sqlite")


def test_missing_values_are_all_named():
    with pytest.raises(QueryError, match="a, b") as caught:
        arguments(("b", "a", "c"), {"c": 1}, "pyformat")
    assert "--param a=VALUE" in caught.value.hint


def test_a_trailing_comment_does_not_swallow_the_wrapper():
    with sqlite3.connect(":memory:") as connection:
        text = wrap("SELECT 7 AS x -- seven", "SELECT x FROM (\n", "\n) AS rivet_query")
        assert connection.execute(text).fetchone() == (7,)
    connection.close()


def test_unclosed_quotes_of_any_length_are_scanned_once():
    text = "SELECT '" + "\\'x''" * 50_000
    assert find_binds(text, "mysql") == ()
    assert not re.search(r"\$", text)
