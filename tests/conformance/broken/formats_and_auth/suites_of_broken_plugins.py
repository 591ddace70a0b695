"""What the authors of the plugins in ``broken_formats`` and ``broken_resolvers`` would write."""

from __future__ import annotations

import pytest
from broken_formats import FORMATS
from broken_resolvers import RESOLVERS, Vault

from rivet_core.testing import AuthHarness, AuthSuite, FormatSuite


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


del AuthSuite  # pytest would collect it
for name in FORMATS:
    globals()[f"TestFormat {name}"] = type(f"TestFormat {name}", (FormatSuite,), {"format": name})
for name in RESOLVERS:
    globals()[f"TestResolver {name}"] = type(f"TestResolver {name}", (ResolverSuite,), {"resolver": name})
