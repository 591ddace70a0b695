"""``rivet schema``: JSON Schemas of the configuration, with every installed plugin, and of the manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from rivet_core.cli.options import output_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rivet_core.cli.output import Output


@click.group()
def schema() -> None:
    """Print JSON Schemas of rivet.yaml and of the manifest."""


@schema.command("config")
@output_options
def schema_config(output: Output) -> None:
    """Print the JSON Schema of rivet.yaml, with the fields of every installed plugin."""
    from rivet_core.config.schema import config_json_schema
    from rivet_core.plugins import load_registry

    _print(config_json_schema(load_registry()), output)


@schema.command("manifest")
@output_options
def schema_manifest(output: Output) -> None:
    """Print the JSON Schema of manifest.json."""
    from rivet_core.contract.manifest import manifest_json_schema

    _print(manifest_json_schema(), output)


def _print(document: Mapping[str, object], output: Output) -> None:
    output.report(document, lambda text: text.line(json.dumps(document, indent=2)))
