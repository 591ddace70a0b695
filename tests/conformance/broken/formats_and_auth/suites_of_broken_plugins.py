"""What the authors of the plugins in ``broken_formats``, ``broken_resolvers`` and ``broken_sources`` would write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from broken_formats import FORMATS
from broken_resolvers import RESOLVERS, Vault
from broken_sources import SOURCES

from rivet_core.testing import AuthHarness, AuthSuite, FormatSuite, SourceHarness, SourceSuite


class ResolverSuite(AuthSuite):
    destination = "cloud"

    @pytest.fixture
    def harness(self) -> AuthHarness:
        field = f"{self.resolver}_path"
        return AuthHarness(
            fields={field: Vault.path},
            secrets=lambda: [Vault.token],
            refused={field: "kv/nothing"},
            rotate=Vault.rotate,
            expire=Vault.expire,
        )


class SqliteSuite(SourceSuite):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[SourceHarness]:
        path = tmp_path / "kit.db"
        path.touch()
        engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        yield SourceHarness(config={"url": f"sqlite:///{path}"}, engine=engine)
        engine.dispose()


for name in FORMATS:
    globals()[f"TestFormat {name}"] = type(f"TestFormat {name}", (FormatSuite,), {"format": name})
for name in RESOLVERS:
    globals()[f"TestResolver {name}"] = type(f"TestResolver {name}", (ResolverSuite,), {"resolver": name})
for name in SOURCES:
    globals()[f"TestSource {name}"] = type(f"TestSource {name}", (SqliteSuite,), {"source": name})
