"""The configuration against the plugins that this repository ships."""

from __future__ import annotations

import doctest
import importlib

import jsonschema
import pyarrow as pa
import pytest
import yaml

from rivet_core.config import ConfigProblems, load
from rivet_core.config.schema import config_json_schema
from rivet_core.plugins import discover

TEXT = """\
source: {type: postgres, url_env: DATABASE_URL}
state: {url: sqlite:///.rivet_state.db}
memory_budget: 256MB
exports:
  - name: orders
    table: public.orders
    mode: full
    format: parquet
    compression: zstd
    max_file_size: 256MB
    columns: {amount: decimal(18,2)}
    types: {unbounded_numeric: error}
    destination: {type: local, path: "exports/{date}/{export}/"}
  - name: recent
    query: select * from orders where day >= ${since}
    format: {type: csv, delimiter: ";"}
    destination: {type: stdout}
"""


@pytest.fixture(scope="module")
def installed():
    return discover({})


def test_a_configuration_with_everything_installed(tmp_path, installed):
    path = tmp_path / "rivet.yaml"
    path.write_text(TEXT)
    config = load(path, installed, {})
    orders, recent = config.exports
    assert (config.source.spec.type, config.source.model.dialect) == ("postgres", "postgresql")
    assert orders.columns == {"amount": pa.decimal128(18, 2)}
    assert orders.destination.with_prefix("x").model.path == "x"
    assert recent.format.model.compression == "none"


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("url_env: DATABASE_URL", "user: reader", "source"),
        ("url_env: DATABASE_URL", "url: gobbledygook", "source.url"),
        ("compression: zstd", "compression: brotli", "exports[0].compression"),
        ('delimiter: ";"', 'delimiter: ";;"', "exports[1].format.delimiter"),
        ("type: stdout", "type: stdout, path: x", "exports[1].destination.path"),
        ("amount: decimal(18,2)", "amount: decimal(99,2)", "exports[0].columns.amount"),
    ],
)
def test_each_plugin_s_own_errors_name_their_line(tmp_path, installed, old, new, field):
    path = tmp_path / "rivet.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigProblems) as caught:
        load(path, installed, {})
    line = next(number for number, text in enumerate(TEXT.splitlines(), 1) if old in text)
    assert [(item.line, item.field) for item in caught.value.problems] == [(line, field)]


def test_the_schema_describes_every_field(installed):
    schema = config_json_schema(installed)
    validator = jsonschema.Draft202012Validator(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    quoted = TEXT.replace("decimal(18,2)", '"decimal(18,2)"')
    assert validator.is_valid(yaml.safe_load(quoted))
    assert not validator.is_valid(yaml.safe_load(quoted.replace("url_env", "url_evn")))
    missing = []

    def visit(node, where):
        if isinstance(node, list):
            for item in node:
                visit(item, where)
        elif isinstance(node, dict):
            for name, field in node.get("properties", {}).items():
                if not field.get("description"):
                    missing.append(f"{where}.{name}")
            for name, inner in node.items():
                visit(inner, f"{where}.{name}")

    visit(schema, "rivet.yaml")
    assert missing == []


@pytest.mark.parametrize("module", ["environment", "model", "params", "placeholders", "problems"])
def test_the_examples_in_the_code_run(module):
    failed, attempted = doctest.testmod(importlib.import_module(f"rivet_core.config.{module}"))
    assert attempted
    assert not failed
