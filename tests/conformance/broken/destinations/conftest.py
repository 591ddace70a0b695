"""The plugin of broken destinations, installed once for all tests."""

from __future__ import annotations

import pytest

from conformance.broken.destinations.kit_runs import Installed


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed.install(tmp_path_factory.mktemp("broken"))
