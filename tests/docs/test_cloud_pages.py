"""The pages about clouds: every configuration loads, and every way to log in is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from docs.code_blocks import code_blocks
from rivet_core.config import DestinationChoice, load
from rivet_core.plugins import Registry, discover

DOCS = Path(__file__).parents[2] / "docs"
CLOUDS = ("s3", "gcs", "azure")
PAGES = ("cloud-auth.md", *(f"destinations/{cloud}.md" for cloud in CLOUDS))


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover({"RIVET_PLUGINS": ",".join(CLOUDS)})


def destinations(page: str, directory: Path, registry: Registry) -> list[DestinationChoice]:
    """Load every destination that a page shows, in a configuration of its own."""
    shown = [
        content["destination"]
        for block in code_blocks(DOCS / page, page)
        if block.language == "yaml" and "destination" in (content := yaml.safe_load(block.content))
    ]
    choices = []
    for destination in shown:
        export = {"name": "orders", "table": "orders", "destination": destination}
        content = {"source": {"type": "sqlite", "database": "shop.db"}, "exports": [export]}
        file = directory / "rivet.yaml"
        file.write_text(yaml.safe_dump(content))
        choices.append(load(file, registry, {}).exports[0].destination)
    return choices


@pytest.mark.parametrize("page", PAGES)
def test_every_destination_on_the_page_can_be_copied(page: str, tmp_path: Path, registry: Registry):
    assert destinations(page, tmp_path, registry)


def test_every_way_to_log_in_is_shown(tmp_path: Path, registry: Registry):
    shown = {choice.auth.resolver.name for choice in destinations("cloud-auth.md", tmp_path, registry) if choice.auth}
    known = {resolver.name for cloud in CLOUDS for resolver in registry.auth_resolvers(cloud)}
    assert shown == known
