"""What the authors of the plugins in the four modules ``broken_…`` here would write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from broken_formats import FORMATS
from broken_resolvers import NATIVE, RESOLVERS, Vault
from broken_sources import SOURCES
from broken_streams import STREAMS, Receiver

from rivet_core.testing import (
    AuthHarness,
    AuthSuite,
    FormatSuite,
    SourceHarness,
    SourceSuite,
    StreamHarness,
    StreamSuite,
)


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


class ReceiverSuite(StreamSuite):
    @pytest.fixture
    def harness(self) -> StreamHarness:
        return StreamHarness(receive=Receiver.listening, gone=Receiver.gone, full=Receiver.full)


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
for name in [*RESOLVERS, *NATIVE]:
    globals()[f"TestResolver {name}"] = type(f"TestResolver {name}", (ResolverSuite,), {"resolver": name})
for name in STREAMS:
    globals()[f"TestStream {name}"] = type(f"TestStream {name}", (ReceiverSuite,), {"destination": name})
for name in SOURCES:
    globals()[f"TestSource {name}"] = type(f"TestSource {name}", (SqliteSuite,), {"source": name})
