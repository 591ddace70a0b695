"""What happens to rows between the source and the encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

from rivet_core.api.errors import QueryError
from rivet_core.api.source import SourceColumn, SourceSchema

#: The column of ``meta_columns: {exported_at: true}``.
EXPORTED_AT: Final = "_rivet_exported_at"

_EXPORTED_AT_TYPE: Final = pa.timestamp("us", "UTC")

#: Returns the rows of a batch that belong into the dataset.
Admit = Callable[[pa.RecordBatch], pa.RecordBatch]


def dataset_columns(read: SourceSchema, *, exported_at: bool) -> SourceSchema:
    """Return the columns of the dataset: those that the source gives, and those that are added.

    Raises:
        QueryError: the source has a column of the name of an added one.
    """
    if not exported_at:
        return read
    if any(column.name == EXPORTED_AT for column in read.columns):
        raise QueryError(
            f"the rows have a column {EXPORTED_AT} already",
            hint="rename it in the query, or leave out meta_columns.exported_at",
        )
    added = SourceColumn(EXPORTED_AT, _EXPORTED_AT_TYPE, "timestamp of the run", nullable=False)
    return replace(read, columns=(*read.columns, added))


class RowSteps:
    """The steps that every batch of a run takes, from several threads.

    Args:
        read: the columns that the source gives.
        admit: drops the rows that were delivered before.
        exported_at: adds a column with this time.

    Attributes:
        columns: the columns of the dataset.

    Raises:
        QueryError: the source has a column of the name of an added one.
    """

    def __init__(self, read: SourceSchema, *, admit: Admit | None = None, exported_at: datetime | None = None) -> None:
        self.read = read.arrow()
        self.columns = dataset_columns(read, exported_at=exported_at is not None)
        self._admit = admit
        self._exported_at = exported_at and exported_at.astimezone(UTC)
        self.schema = self.columns.arrow()

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return what of a batch goes into the dataset, with the columns of ``schema``."""
        if self._admit is not None:
            batch = self._admit(batch)
        if self._exported_at is None:
            return batch
        added = pa.repeat(pa.scalar(self._exported_at, _EXPORTED_AT_TYPE), batch.num_rows)
        return pa.RecordBatch.from_arrays([*batch.columns, added], schema=self.schema)
