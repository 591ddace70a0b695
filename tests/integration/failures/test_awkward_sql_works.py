"""SQL and names that look like something else arrive at the database, and in the files, as they were written."""

from __future__ import annotations

import csv

import pytest

from integration.failures.command import Workspace

#: MySQL and MariaDB take no character beyond U+FFFF in a name, and so not every emoji.
NAMES = {"mariadb": 'say "hi" it\'s `a%b:c` ${x} ☕'}
NAME = 'say "hi" it\'s `a%b:c` ${x} 🦔'

# Every string, name and comment holds what a careless reader takes for a bind, a format or an end.
QUERIES = {
    "sqlite": """SELECT ':a %s %(b)s ${c} ?' AS "x:y %", 10 % 4 AS modulo, 'it''s; 100%' AS quoted -- ${d}; :e %
                 /* ${f} ; ' */ , [id] AS `i%d` FROM orders WHERE note LIKE 'n%w'""",
    "postgres": r"""SELECT ':a %s %(b)s ${c} $1' AS "x:y %", 10 % 4 AS modulo, $q$it's; 100%$q$ AS quoted -- ${d}; :e %
                    /* ${f} /* ; */ ' */ , id::bigint AS "i%d" FROM orders WHERE note LIKE E'n%\x77'""",
    "mariadb": r"""SELECT ':a %s %(b)s ${c} ?' AS `x:y %`, 10 % 4 AS modulo, "it's; 100%" AS quoted # ${d}; :e %
                   /* ${f} ; ' */ , id AS `i%d` FROM orders WHERE note LIKE 'n\%' OR note LIKE "n%w" """,
}
PLACEHOLDERS = {"sqlite": "?", "postgres": "$1", "mariadb": "?"}


def quoted(source: dict[str, str], name: str) -> str:
    mark = "`" if source["type"] == "mariadb" else '"'
    return mark + name.replace(mark, mark * 2) + mark


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_names_with_quotes_and_emoji(workspace: Workspace, engine_source: dict[str, str], form: str) -> None:
    name = NAMES.get(engine_source["type"], NAME)
    query = f"SELECT note AS {quoted(engine_source, name)}, id FROM orders"
    workspace.configure(engine_source, {"query": query, "format": form})
    workspace.rivet("run", "--validate").succeeded()
    dataset = workspace.dataset()
    assert dataset is not None
    if form == "parquet":
        assert dataset.rows() == [{name: "new", "id": 1}]
    else:
        with dataset.parts[0].open(encoding="utf-8", newline="") as file:
            assert list(csv.reader(file)) == [[name, "id"], ["new", "1"]]
    assert [column["name"] for column in dataset.manifest["schema"]] == [name, "id"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", ["", ";", " ; -- the end"], ids=["no end", "semicolon", "semicolon and comment"])
def test_text_that_looks_like_binds_and_ends(workspace: Workspace, engine_source: dict[str, str], end: str) -> None:
    engine = engine_source["type"]
    workspace.configure(engine_source, {"query": QUERIES[engine] + end})
    workspace.rivet("run").succeeded()
    row = {"x:y %": f":a %s %(b)s ${{c}} {PLACEHOLDERS[engine]}", "modulo": 2, "quoted": "it's; 100%", "i%d": 1}
    assert workspace.rows() == [row]


def test_the_same_text_beside_real_binds(workspace: Workspace, engine_source: dict[str, str]) -> None:
    engine = engine_source["type"]
    # Without rows SQLite knows no types: that the columns are others then is another test's.
    query = QUERIES[engine] + "\nAND (note = ${word} OR ${word} = note);"
    workspace.configure(engine_source, {"query": query, "on_schema_drift": "continue"})
    for word, found in (("new", 1), ("new' OR 1=1 -- %s :a ${b}", 0)):
        workspace.rivet("run", "--param", f"word={word}").succeeded()
        assert [row["i%d"] for row in workspace.rows()] == [1] * found
