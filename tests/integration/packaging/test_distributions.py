"""Both distributions, installed for real from the checkout: what is in them, and that their order does not matter."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[3]
PROJECTS = {"rivet-core": ROOT, "rivet-local": ROOT / "plugins" / "rivet-local"}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
OFFLINE = ["--no-index", "--no-deps", "--no-build-isolation"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("wheels")
    command = [*PIP, "wheel", *OFFLINE, "--wheel-dir", str(directory), *map(str, PROJECTS.values())]
    subprocess.run(command, check=True)
    return {path.name.split("-")[0].replace("_", "-"): path for path in directory.glob("*.whl")}


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


@pytest.mark.parametrize("order", [["rivet-core", "rivet-local"], ["rivet-local", "rivet-core"]])
def test_the_checkout_installs_in_any_order_and_works(tmp_path: Path, order: list[str]):
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    packages = next((environment / "lib").glob("python*/site-packages"))
    # The third-party packages of the development environment, without its editable installs of these two.
    (packages / "third-party.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    for name in order:
        subprocess.run([*PIP, "--python", str(python), "install", *OFFLINE, str(PROJECTS[name])], check=True)

    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RIVET_", "PYTHON"))}
    rivet = [environment / "bin" / "rivet"]
    listed = subprocess.run([*rivet, "plugins", "list", "--json"], env=clean, capture_output=True, check=True)
    plugins = {plugin["name"]: plugin["status"] for plugin in json.loads(listed.stdout)["plugins"]}
    assert plugins == {"builtin": "active", "local": "active"}
    where = subprocess.run(
        [python, "-c", "import rivet_core, rivet_local; print(rivet_core.__file__, rivet_local.__file__)"],
        env=clean,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.count(str(packages)) == 2
