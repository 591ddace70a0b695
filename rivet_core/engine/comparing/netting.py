"""Nets the rows of two sides against each other in bounded memory; what is left over is different.

A row is a record: the digest of its key and the digest of its values. Rows that both sides have cancel out as soon as
both were seen, so two sides in about the same order need little memory. What does not fit waits in temporary files
without names, partitioned by the key.
"""

from __future__ import annotations

import struct
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Final

from rivet_core.api.errors import StorageFull
from rivet_core.engine.comparing.row_digests import DIGEST_BYTES

#: Records that are held in memory, at about 200 bytes each.
MOST_RECORDS: Final = 200_000
#: How many keys of each kind are kept as examples.
EXAMPLES: Final = 10

_FILES: Final = 64
_COUNT: Final = struct.Struct("<q")
_RECORD_BYTES: Final = 2 * DIGEST_BYTES
_ENTRY_BYTES: Final = _RECORD_BYTES + _COUNT.size


@dataclass
class Differences:
    """The rows that are not on both sides.

    Attributes:
        missing: rows of the first side whose key the second lacks, or has less often.
        extra: rows of the second side whose key the first lacks, or has less often.
        changed: rows whose key is on both sides with other values.
        examples: digests of some keys for each of the three, by its name.
    """

    missing: int = 0
    extra: int = 0
    changed: int = 0
    examples: dict[str, list[bytes]] = field(default_factory=lambda: {"missing": [], "extra": [], "changed": []})

    def __bool__(self) -> bool:
        return self.missing + self.extra + self.changed > 0

    def add(self, key: bytes, first: int, second: int) -> None:
        """Count the rows of one key that are left over on each side."""
        changed = min(first, second)
        for kind, rows in (("changed", changed), ("missing", first - changed), ("extra", second - changed)):
            setattr(self, kind, getattr(self, kind) + rows)
            if rows and len(self.examples[kind]) < EXAMPLES:
                self.examples[kind].append(key)


class Netting:
    """Nets records. A context manager, which removes the temporary files.

    Args:
        most_records: how many are held in memory.
    """

    def __init__(self, most_records: int = MOST_RECORDS) -> None:
        self._most = most_records
        self._open: Counter[bytes] = Counter()
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Netting:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, records: Iterable[bytes], side: int) -> None:
        """Add rows.

        Args:
            side: 1 for the first side, -1 for the second.

        Raises:
            StorageFull: the directory for temporary files has no room.
        """
        _net(self._open, ((record, side) for record in records))
        if len(self._open) > self._most:
            self._spill()

    def differences(self) -> Differences:
        """Return what is left over; nothing can be added afterwards."""
        found = Differences()
        if not self._files:
            _sum_up(self._open, found)
            return found
        self._spill()
        for file in self._files:
            passes = 1 + file.seek(0, 2) // _ENTRY_BYTES // self._most
            for number in range(passes):
                left: Counter[bytes] = Counter()
                # The first byte of a key has chosen the file; the next ones choose the pass.
                entries = _entries(file)
                _net(left, (item for item in entries if int.from_bytes(item[0][1:5], "big") % passes == number))
                _sum_up(left, found)
        return found

    def _spill(self) -> None:
        try:
            if not self._files:
                for _ in range(_FILES):
                    file: IO[bytes] = tempfile.TemporaryFile("w+b")  # noqa: SIM115  closed by the stack
                    self._files.append(self._stack.enter_context(file))
            for record, count in self._open.items():
                self._files[record[0] % _FILES].write(record + _COUNT.pack(count))
            for written in self._files:
                written.flush()
        except OSError as error:
            raise StorageFull(
                f"the comparison cannot write to {tempfile.gettempdir()}: {error.strerror}",
                hint="make room there, or name another directory in TMPDIR",
            ) from error
        self._open.clear()


def _net(open_: Counter[bytes], entries: Iterable[tuple[bytes, int]]) -> None:
    for record, count in entries:
        rest = open_[record] + count
        if rest:
            open_[record] = rest
        else:
            del open_[record]


def _entries(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    file.seek(0)
    while piece := file.read(_ENTRY_BYTES * 4096):
        for start in range(0, len(piece), _ENTRY_BYTES):
            end = start + _RECORD_BYTES
            yield piece[start:end], _COUNT.unpack_from(piece, end)[0]


def _sum_up(left: Counter[bytes], found: Differences) -> None:
    sides: defaultdict[bytes, list[int]] = defaultdict(lambda: [0, 0])
    for record, count in left.items():
        sides[record[:DIGEST_BYTES]][count < 0] += abs(count)
    for key, (first, second) in sides.items():
        found.add(key, first, second)
