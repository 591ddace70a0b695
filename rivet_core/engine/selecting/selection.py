"""What a run reads: which rows, by which statements, and which of them may have been delivered before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rivet_core.contract.key_text import KeyValue
    from rivet_core.contract.manifest import Extraction
    from rivet_core.engine.selecting.axis import Axis
    from rivet_core.engine.selecting.chunks import ChunkPlan


@dataclass(frozen=True)
class Window:
    """The rows of an incremental run, some of which earlier runs may have delivered.

    Attributes:
        axis: the cursor.
        key: columns that are unique together.
        low: the smallest cursor; ``None`` for all rows.
        is_empty: there was no row when the run started.
    """

    axis: Axis
    key: tuple[str, ...]
    low: KeyValue | None
    is_empty: bool


@dataclass(frozen=True)
class Selection:
    """The rows of one run.

    Attributes:
        chunks: the statements that read them.
        extraction: what the manifest says about them.
        window: set where rows may have been delivered before.
    """

    chunks: ChunkPlan
    extraction: Extraction
    window: Window | None = None
