"""Any sequence of operations, against a dictionary as the model."""

from __future__ import annotations


class StatefulTests:
    """Random sequences of writes, deletes, copies, moves, listings and reopenings."""
