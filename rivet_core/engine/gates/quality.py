"""Quality gates: watches the rows of a run on their way into the dataset, and judges them before they are published.

Each attempt at a chunk has an observation of its own, which counts once the attempt has succeeded: rows that are read
again count once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa

from rivet_core.api.errors import ConfigError, QualityFailed
from rivet_core.contract.types import normalise_type, storage_type, type_name
from rivet_core.engine.gates.distinct import WORKING_FACTOR, KeySet, SpillFile, is_comparable, keys_of
from rivet_core.engine.plain import plain

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination
    from rivet_core.api.format import Format
    from rivet_core.config.sections import QualitySection
    from rivet_core.state import PartRow

_BUDGET_SHARE: Final = 16
_MIN_LIMIT_BYTES: Final = 256_000

GateName = Literal["row_count_min", "row_count_max", "null_ratio_max", "unique_columns"]


@dataclass(frozen=True)
class GateResult:
    """What a gate has found.

    Attributes:
        column: the column that it is about; ``None`` for the rows as a whole.
        limit: what the configuration allows; 0 for a unique column.
        measure: rows, the share of NULL, or for a unique column the rows beyond the first of each value.
        passed: the measure is within the limit.
    """

    gate: GateName
    column: str | None
    limit: float
    measure: float
    passed: bool

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return asdict(self)

    def __str__(self) -> str:
        match self.gate:
            case "row_count_min":
                return f"{self.measure} rows are less than {self.limit}"
            case "row_count_max":
                return f"{self.measure} rows are more than {self.limit}"
            case "null_ratio_max":
                return f"{self.measure:.6g} of {self.column} is NULL, at most {self.limit:.6g} allowed"
            case "unique_columns":
                return (
                    f"{self.measure} {'row repeats' if self.measure == 1 else 'rows repeat'} a value of {self.column}"
                )


@dataclass
class Observation:
    """What one attempt at a chunk has seen; used by one thread.

    Attributes:
        rows: how many.
        nulls: how many of them have no value, by column.
        keys: the values of the columns that must be unique.
    """

    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    keys: dict[str, KeySet] = field(default_factory=dict)
    _types: Mapping[str, pa.DataType] = field(default_factory=dict)

    def see(self, batch: pa.RecordBatch) -> None:
        """Look at a batch that goes into the dataset."""
        self.rows += batch.num_rows
        for name in self.nulls:
            self.nulls[name] += batch.column(name).null_count
        for name, keys in self.keys.items():
            values = plain(batch.column(name))
            dtype = self._types[name]
            keys.add(keys_of(values if values.type == dtype else values.cast(dtype)))


class Gates:
    """The gates of one run; safe for threads. A context manager: leaving it removes what is on disk.

    Args:
        quality: the gates.
        schema: the columns of the dataset.
        memory_budget: bytes that the run may use, of which the gates take a small share.
        workers: attempts that are observed at the same time.

    Attributes:
        memory_bytes: what the gates may hold in memory; 0 where they keep no values.

    Raises:
        ConfigError: a gate is about a column that does not exist or has values that cannot be compared.
    """

    def __init__(self, quality: QualitySection, schema: pa.Schema, *, memory_budget: int = 0, workers: int = 1) -> None:
        check_columns(quality, schema)
        self._quality = quality
        self._unique = tuple(dict.fromkeys(quality.unique_columns))
        # What Parquet gives back: parts that are read again have the same keys as rows of the source.
        self._types = {name: storage_type(normalise_type(schema.field(name).type)) for name in self._unique}
        self._spill = SpillFile()
        self._lock = threading.Lock()
        sets = (workers + 1) * len(self._unique) + WORKING_FACTOR
        self._limit = max(_MIN_LIMIT_BYTES, memory_budget // _BUDGET_SHARE // sets)
        self.memory_bytes = self._limit * sets if self._unique else 0
        self._total = self.observe()

    def __enter__(self) -> Gates:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._spill.close()

    @property
    def columns(self) -> list[str]:
        """The columns whose values the gates have to see."""
        return list(dict.fromkeys([*self._quality.null_ratio_max, *self._unique]))

    def observe(self) -> Observation:
        """Return the observation of an attempt that begins."""
        return Observation(
            nulls=dict.fromkeys(self._quality.null_ratio_max, 0),
            keys={name: KeySet(self._spill, self._limit) for name in self._unique},
            _types=self._types,
        )

    def add(self, seen: Observation) -> None:
        """Count what an attempt has seen that has succeeded."""
        with self._lock:
            self._total.rows += seen.rows
            for name, count in seen.nulls.items():
                self._total.nulls[name] += count
            for name, keys in seen.keys.items():
                self._total.keys[name].merge(keys)

    def add_part(self, part: PartRow, destination: Destination, format_: Format, schema: pa.Schema) -> None:
        """Count the rows of a part that an earlier run has written; it is read again where its values matter."""
        seen = self.observe()
        if not self.columns:
            seen.rows = part.rows
        else:
            with (
                destination.open_reader(part.key) as source,
                closing(format_.decoder(source, schema)) as decoder,
            ):
                for batch in decoder.batches():
                    seen.see(batch)
        self.add(seen)

    def results(self) -> list[GateResult]:
        """Return what each gate has found, in the order of the configuration; the last call."""
        return list(self._results())

    def _results(self) -> Iterator[GateResult]:
        quality, rows = self._quality, self._total.rows
        if quality.row_count_min is not None:
            yield GateResult("row_count_min", None, quality.row_count_min, rows, rows >= quality.row_count_min)
        if quality.row_count_max is not None:
            yield GateResult("row_count_max", None, quality.row_count_max, rows, rows <= quality.row_count_max)
        for name, limit in quality.null_ratio_max.items():
            ratio = self._total.nulls[name] / rows if rows else 0.0
            yield GateResult("null_ratio_max", name, limit, ratio, ratio <= limit)
        for name in self._unique:
            keys = self._total.keys[name]
            repeated = keys.added - keys.count_distinct()
            yield GateResult("unique_columns", name, 0, repeated, repeated == 0)


def check_columns(quality: QualitySection, schema: pa.Schema) -> None:
    """Refuse gates about columns that are not there, or that cannot be compared.

    Raises:
        ConfigError: names them.
    """
    named = {"null_ratio_max": list(quality.null_ratio_max), "unique_columns": quality.unique_columns}
    for gate, names in named.items():
        unknown = [name for name in names if name not in schema.names]
        if unknown:
            raise ConfigError(
                f"quality.{gate} names {', '.join(map(repr, unknown))}, but the rows have no such column",
                hint=f"columns: {', '.join(schema.names)}",
            )
    for name in quality.unique_columns:
        if not is_comparable(schema.field(name).type):
            raise ConfigError(
                f"quality.unique_columns names {name!r}, whose values cannot be compared: "
                f"{type_name(schema.field(name).type)}",
                hint="leave it out",
            )


def refuse_failed(results: Iterable[GateResult]) -> None:
    """Refuse to publish rows that have failed a gate.

    Raises:
        QualityFailed: names every gate that failed.
    """
    every: Sequence[GateResult] = list(results)
    failed = [result for result in every if not result.passed]
    if failed:
        raise QualityFailed(
            f"{len(failed)} of {len(every)} quality gates failed: {'; '.join(map(str, failed))}",
            hint="correct the data, or the gates under quality, and run again without --resume",
        )
