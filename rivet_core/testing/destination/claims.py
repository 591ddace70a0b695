"""Each declared capability holds, and each one that is not declared is refused and not silently ignored."""

from __future__ import annotations


class ClaimTests:
    """Proof of what ``DestinationSpec.capabilities`` claims."""
