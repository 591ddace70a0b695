"""What a run has done so far, for the display of its progress."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Counters:
    """What progress shows; moved by the workers' threads, read by the display's."""

    rows: int = 0
    bytes_written: int = 0
    parts: int = 0
    approximate_rows: int | None = None
    phase: str = "starting"
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, rows: int = 0, size_bytes: int = 0, parts: int = 0) -> None:
        """Add to the counters; negative numbers take back what a failed attempt has added."""
        with self._lock:
            self.rows += rows
            self.bytes_written += size_bytes
            self.parts += parts
