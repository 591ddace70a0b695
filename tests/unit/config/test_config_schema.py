"""The JSON Schema agrees with the loader, and tells an editor what every field is."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from rivet_core.config.schema import config_json_schema

HEAD = "source: {type: postgres, host: db}\nexports:\n  - name: a\n    table: t\n"
DESTINATION = "    destination: {type: local, path: out}\n"


@pytest.fixture
def schema(registry):
    return config_json_schema(registry)


def is_valid(schema, text):
    return jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(text))


def test_it_is_a_json_schema(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + DESTINATION,
        HEAD + DESTINATION + "    format: {type: csv, delimiter: ';'}\n",
        HEAD + DESTINATION + "    format: csv\n    compression: none\n    max_file_size: 5MB\n",
        HEAD + DESTINATION + "    types: {zero_dates: null, max_value_bytes: 5000}\n",
        HEAD + DESTINATION + "    columns: {a: 'decimal(18,2)'}\n",
        HEAD + "    destination: {type: cloud, bucket: b, access_key_env: A, secret_key_env: S}\n",
        HEAD + "    destination: {type: cloud, bucket: b, auth: {resolver: vault, vault_path: x}}\n",
        HEAD + "    destination: {type: pipe}\n",
        (HEAD + DESTINATION).replace("host: db", "host: db, port: '${PORT}'"),
        HEAD + DESTINATION + "memory_budget: ${BUDGET}\n",
        HEAD + DESTINATION + "    mode: ${MODE:-full}\n",
    ],
)
def test_valid_both_ways(schema, load_text, text):
    assert load_text(text, {"PORT": "5432", "BUDGET": "1GB"})
    assert is_valid(schema, text)


@pytest.mark.parametrize(
    "text",
    [
        "exports: []\n",
        HEAD,
        HEAD + "    query: select 1\n" + DESTINATION,
        HEAD + DESTINATION + "    compresion: none\n",
        HEAD + DESTINATION + "    compression: brotli\n",
        HEAD + DESTINATION + "    format: avro\n",
        HEAD + DESTINATION + "    format: {type: csv, level: 3}\n",
        HEAD + DESTINATION + "    mode: fast\n",
        HEAD + DESTINATION + "    max_file_size: big\n",
        HEAD + "    destination: {type: local}\n",
        HEAD + "    destination: {type: s3, bucket: b}\n",
        HEAD + "    destination: {type: bucket, bucket: b, path: out}\n",
        HEAD + "    destination: {type: cloud, bucket: b, auth: {resolver: nobody}}\n",
        (HEAD + DESTINATION).replace("host: db", "dialect: mysql"),
        (HEAD + DESTINATION).replace("host: db", "tls: {mode: maybe}"),
        (HEAD + DESTINATION).replace("host: db", "port: http"),
    ],
)
def test_invalid_both_ways(schema, problems_of, text):
    assert problems_of(text)
    assert not is_valid(schema, text)


def test_defaults_are_shown(schema):
    export = schema["$defs"]["ExportSection"]["properties"]
    assert schema["properties"]["memory_budget"]["default"] == 256_000_000
    assert (export["format"]["default"], export["mode"]["default"], export["superseded"]["default"]) == (
        "parquet",
        "full",
        "quarantine",
    )


def test_a_damaged_plugin_hides_no_other(schema):
    assert is_valid(schema, HEAD + "    destination: {type: damaged, whatever: 1}\n")
