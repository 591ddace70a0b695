"""Ranges of keys in words, for the reports of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rivet_core.contract.manifest import KeyRange


def describe_range(range_: KeyRange | None) -> str:
    """Return which rows a range has: ``id above 4, up to 9``; ``None`` has all of them."""
    if range_ is None:
        return "all rows"
    columns = ", ".join(range_.columns)
    if range_.nulls:
        return f"rows without {columns}"
    bounds = [f"above {', '.join(range_.low)}"] if range_.low else []
    bounds += [f"up to {', '.join(range_.high)}"] if range_.high else []
    return f"{columns} {', '.join(bounds)}" if bounds else "all rows"
