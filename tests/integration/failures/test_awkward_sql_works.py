"""SQL and names that look like something else arrive at the database, and in the files, as they were written."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from typing import Any

import pytest

from integration.failures.command import Workspace, sqlite_table

#: MySQL and MariaDB take no character beyond U+FFFF in a name, and so not every emoji.
NAMES = {"mariadb": 'say "hi" it\'s `a%b:c` ${x} ☕'}
NAME = 'say "hi" it\'s `a%b:c` ${x} 🦔'


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
