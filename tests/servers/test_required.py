"""A server that is not installed skips a user's tests, fails those of CI, and says what to install."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from servers import process
from servers.azurite import azurite_server
from servers.fake_gcs import fake_gcs_server
from servers.gcs_emulator import gcs_emulator
from servers.moto import moto_server
from servers.required import serve
from servers.seaweedfs import seaweedfs_server

Store = Callable[[], AbstractContextManager[object]]


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process, "ENVIRONMENTS", tmp_path)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("RIVET_REQUIRE_SERVERS", raising=False)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("store", [seaweedfs_server, moto_server, fake_gcs_server, gcs_emulator])
def test_a_missing_server_skips_its_tests(store: Store) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"is not installed: make \.venvs/servers/\.installed"):
        next(serve(store()))


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("variable", [("CI", "true"), ("RIVET_REQUIRE_SERVERS", "1")])
def test_a_missing_server_fails_where_servers_are_required(
    monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]
) -> None:
    monkeypatch.setenv(*variable)
    with pytest.raises(pytest.fail.Exception, match="SeaweedFS is not installed"):
        next(serve(seaweedfs_server()))


@pytest.mark.usefixtures("nothing_installed")
def test_azurite_needs_node_and_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"apt-get install nodejs npm"):
        next(serve(azurite_server()))
    node = tmp_path / "node"
    node.touch(mode=0o755)
    with pytest.raises(pytest.skip.Exception, match=r"make \.venvs/azurite/\.installed"):
        next(serve(azurite_server()))
