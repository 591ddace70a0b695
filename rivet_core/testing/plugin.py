"""The kit's pytest plugin, loaded in every pytest run of an environment with rivet-core.

So it imports nothing but pytest and the catalog, and does nothing where no test uses a suite.
"""

from __future__ import annotations

import pytest

# The asserts of the kit show their values, as those of a test module do.
pytest.register_assert_rewrite(
    "rivet_core.testing.auth",
    "rivet_core.testing.destination",
    "rivet_core.testing.format",
    "rivet_core.testing.source",
    "rivet_core.testing.stream",
)
