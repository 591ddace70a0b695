"""What a run has done so far, for the display of its progress."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Counters:
    """What progress shows; moved by the workers' threads, read by the display's.

    Attributes:
        longest_statement_seconds: of the source; ``None`` where that is not known.
    """

    rows: int = 0
    bytes_written: int = 0
    parts: int = 0
    approximate_rows: int | None = None
    phase: str = "starting"
    longest_statement_seconds: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, rows: int = 0, size_bytes: int = 0, parts: int = 0) -> None:
        """Add to the counters; negative numbers take back what a failed attempt has added."""
        with self._lock:
            self.rows += rows
            self.bytes_written += size_bytes
            self.parts += parts

    def restart(self) -> None:
        """Forget what was counted: all of it is done again."""
        with self._lock:
            self.rows = self.bytes_written = self.parts = 0

    def timed(self, seconds: float | None) -> None:
        """Take note of a statement that took so long."""
        if seconds is not None:
            with self._lock:
                self.longest_statement_seconds = max(seconds, self.longest_statement_seconds or 0.0)
