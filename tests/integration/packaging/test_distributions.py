"""Every distribution, installed for real from the checkout: what is in them, and that their order does not matter."""

from __future__ import annotations

import json
import subprocess
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from integration.packaging.environment import ROOT, Environment, build_wheels

PLUGINS = {path.parent.name: path.parent for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))}
PROJECTS = {"rivet-core": ROOT, **PLUGINS}


DECODE = """
from rivet_mysql._decoder import Decoder as Mysql
from rivet_mysql.fields import Field, Kind
from rivet_parquet._pages import Column
from rivet_postgres._decoder import Decoder as Postgres

decoder = Mysql([Field(Kind.INTEGER, 4)], batch_bytes=1000)
decoder.feed(b"\\x02\\x00\\x00\\x00\\x017" + b"\\x05\\x00\\x00\\x01\\xfe\\x00\\x00\\x02\\x00")
rows, [(_, _, data)] = decoder.take()
assert (rows, bytes(data)) == (1, b"\\x07\\x00\\x00\\x00"), (Column, Postgres)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_wheels(tmp_path_factory.mktemp("wheels"), *PROJECTS.values())


@pytest.mark.parametrize("name", PROJECTS)
def test_a_distribution_brings_its_readme_version_and_types(wheels: dict[str, Path], name: str):
    package = name.replace("-", "_")
    with ZipFile(wheels[name]) as wheel:
        names = set(wheel.namelist())
        metadata_name = next(item for item in names if item.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(metadata_name).decode())
    assert f"{package}/py.typed" in names
    assert {item.partition("/")[0] for item in names} == {package, metadata_name.partition("/")[0]}
    assert metadata["Version"] == "0.1.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert len(metadata.get_payload()) > 500, "the README is the page that a package index shows"


@pytest.mark.parametrize("order", [list(PROJECTS), list(reversed(PROJECTS))], ids=["core-first", "core-last"])
def test_the_checkout_installs_in_any_order_and_works(tmp_path: Path, order: list[str]):
    environment = Environment.create(tmp_path / "env")
    for name in order:
        environment.install(PROJECTS[name])

    listed = subprocess.run(
        [environment.rivet, "plugins", "list", "--json"], env=environment.variables, capture_output=True, check=True
    )
    plugins = {plugin["name"]: plugin["status"] for plugin in json.loads(listed.stdout)["plugins"]}
    assert plugins == {"builtin": "active", **{name.removeprefix("rivet-"): "active" for name in PLUGINS}}
    modules = ", ".join(name.replace("-", "_") for name in PROJECTS)
    where = subprocess.run(
        [environment.python, "-c", f"import {modules}; print(*(module.__file__ for module in ({modules})))"],
        env=environment.variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.count(str(environment.packages)) == len(PROJECTS)
    subprocess.run([environment.python, "-c", DECODE], env=environment.variables, cwd=tmp_path, check=True)
