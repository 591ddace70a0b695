"""The verb ``check``: what runs of an export will meet, from metadata and few rows.

Reads no large table as a whole and writes nothing: what would need that is said to be unknown.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rivet_core.api.destination import Check
from rivet_core.api.errors import QueryError, RivetError, TypeMappingError, as_rivet_error
from rivet_core.contract.types import parse_type, type_name
from rivet_core.engine import plan
from rivet_core.engine.gates.quality import check_columns
from rivet_core.engine.looking.indexes import Indexes, indexes_of
from rivet_core.engine.looking.pace import Pace, measure_pace
from rivet_core.engine.looking.skew import KeyLooks, Skew
from rivet_core.engine.selecting.axis import find_column
from rivet_core.engine.selecting.chunks import MAX_CHUNKS, key_of
from rivet_core.engine.selecting.incremental import delivery_key, plan_increment
from rivet_core.engine.selecting.position import Position
from rivet_core.engine.selecting.time_window import plan_window
from rivet_core.engine.writing.memory import MemoryPlan
from rivet_core.engine.writing.rows import dataset_columns

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import Config, ExportConfig, Incremental, TimeWindow
    from rivet_core.plugins import Registry

logger = logging.getLogger(__name__)

#: A statement that is expected to take longer is a warning: servers, proxies and failures end such statements.
_LONG_SECONDS: Final = 600
#: Chunks are called unequal where one has so many times the rows of the average one.
_UNEQUAL: Final = 10
#: What an exit code of a check means: worth another try, or the configuration or the database has to be changed.
_PASSING, _LASTING = 1, 2


@dataclass(frozen=True)
class ColumnReport:
    """One column of the dataset.

    Attributes:
        type: its type in the dataset; where it has none without an override, the one that is suggested.
        fidelity: what the mapping promises; ``refused`` where there is none.
    """

    name: str
    source_type: str
    type: str
    nullable: bool
    fidelity: str


@dataclass
class CheckReport:
    """What there is to say about one export.

    Attributes:
        columns: of the dataset, in order; empty where the database does not tell.
        overrides: the ``columns:`` block to write, for columns without a lossless type.
        checks: in the order in which they were made.
        approximate_rows: the database's own estimate of the table's rows, ``None`` where it has none.
        approximate_bytes: their size in memory, extrapolated from the sample; files are smaller.
        statements: how many statements will read the rows.
        statement_rows: rows of one of them.
        statement_seconds: how long one of them will take at the speed of the sample.
    """

    export: str
    mode: str
    columns: list[ColumnReport] = field(default_factory=list)
    overrides: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    approximate_rows: int | None = None
    approximate_bytes: int | None = None
    statements: int | None = None
    statement_rows: int | None = None
    statement_seconds: float | None = None
    exit_code: int = 0

    def add(self, name: str, message: str, *, warning: str = "", skipped: bool = False) -> None:
        """Add a check that has not failed.

        Args:
            warning: what to do about it; empty if it is as it should be.
        """
        self.checks.append(Check(name, "warning" if warning else "skipped" if skipped else "ok", message, warning))

    def fail(self, name: str, error: RivetError) -> None:
        """Add a check that has failed: the export cannot run."""
        self.checks.append(Check(name, "failed", f"{error.message} [{error.code}]", error.hint))
        self.exit_code = max(self.exit_code, _PASSING if error.exit_code == _PASSING else _LASTING)

    @contextmanager
    def noting(self, name: str) -> Iterator[None]:
        """Turn an error in the block into a check that has failed."""
        try:
            yield
        except Exception as error:
            logger.debug("the check of %s", name, exc_info=True)
            self.fail(name, as_rivet_error(error))

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return asdict(self)


def check_export(
    config: Config, export: ExportConfig, registry: Registry, params: Mapping[str, str], *, sample_queries: bool = False
) -> CheckReport:
    """Check one export; what is wrong is part of the report, not an exception.

    Args:
        params: values of the query's binds.
        sample_queries: run queries and views to see their first rows, too; a table is always sampled.
    """
    report = CheckReport(export.name, export.mode)
    with report.noting("source"), closing(plan.open_source(config, export, registry)) as source:
        try:
            query, schema = plan.describe_query(source, export, params)
        except TypeMappingError as error:
            report.fail("types", error)
            report.overrides = error.overrides
            _describe_refused(config, export, registry, params, report)
            return report
        _report_columns(schema, report)
        _check_schema(export, registry, schema, report)
        report.approximate_rows = source.approximate_rows(query)
        indexes = _find_indexes(source, query, report)
        sample = None
        with report.noting("sample"):
            sample = _sample(source, query, report, may_run=sample_queries or indexes is not None)
        _Reading(source, query, schema, export, indexes, sample, report).check()
    return report


def _report_columns(schema: SourceSchema, report: CheckReport) -> None:
    report.columns = _columns(schema, {})
    kinds = [column.fidelity for column in schema.columns]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    report.add("types", f"{len(kinds)} columns have a lossless type: {counts}")


def _describe_refused(
    config: Config, export: ExportConfig, registry: Registry, params: Mapping[str, str], report: CheckReport
) -> None:
    """Describe the columns as they would be with the suggested types."""
    if not report.overrides:
        return
    suggested = {name: parse_type(text) for name, text in report.overrides.items()}
    changed = replace(export, columns={**export.columns, **suggested})
    with closing(plan.open_source(config, changed, registry)) as source:
        _, schema = plan.describe_query(source, changed, params)
        report.columns = _columns(schema, report.overrides)


def _columns(schema: SourceSchema, refused: Mapping[str, str]) -> list[ColumnReport]:
    return [
        ColumnReport(
            column.name,
            column.source_type,
            type_name(column.type),
            column.nullable,
            "refused" if column.name in refused else column.fidelity,
        )
        for column in schema.columns
    ]


def _check_schema(export: ExportConfig, registry: Registry, schema: SourceSchema, report: CheckReport) -> None:
    """Check what depends on the columns alone: added ones, gates, and whether the format has their types."""
    with report.noting("columns"):
        columns = dataset_columns(schema, exported_at=export.exported_at).arrow()
        check_columns(export.quality, columns)
        format_ = plan.open_format(export, registry)
        group_bytes = MemoryPlan.divide(0, None).group_bytes
        with closing(format_.encoder(io.BytesIO(), columns, group_bytes=group_bytes)):
            report.add("format", f"{export.format.spec.name} holds every column")


def _find_indexes(source: Source, query: Query, report: CheckReport) -> Indexes | None:
    if query.table is None:
        return None
    try:
        return indexes_of(source, query.table)
    except RivetError as error:
        report.add("indexes", error.message, warning=error.hint)
        return None


def _sample(source: Source, query: Query, report: CheckReport, *, may_run: bool) -> Pace | None:
    if not may_run:
        what = "view" if query.table else "query"
        report.add("sample", f"the {what} was not run; --sample runs it and reads its first rows", skipped=True)
        return None
    sample = measure_pace(source, query)
    if sample.complete:
        report.approximate_rows = sample.rows
    rows = report.approximate_rows
    if rows is not None and sample.rows:
        report.approximate_bytes = sample.size_bytes * rows // sample.rows
    extent = "all" if sample.complete else "the first"
    report.add("sample", f"{extent} {sample.rows:,} rows were read, {sample.rows_per_second:,.0f} rows a second")
    return sample


@dataclass(frozen=True)
class _Reading:
    """Checks how the rows of one export will be read: by which key, with which indexes, in which statements."""

    source: Source
    query: Query
    schema: SourceSchema
    export: ExportConfig
    indexes: Indexes | None
    sample: Pace | None
    report: CheckReport

    @property
    def _what(self) -> str:
        return "table" if self.query.table else "result"

    def check(self) -> None:
        """Check the columns that the mode needs, then the statements."""
        export = self.export
        if export.chunking is not None:
            with self.report.noting("chunks"):
                self._check_chunks()
        elif export.incremental is not None:
            with self.report.noting("cursor"):
                self._check_cursor(export.incremental)
        elif export.time_window is not None:
            with self.report.noting("time"):
                self._check_time(export.time_window)
        else:
            self.report.statements, self.report.statement_rows = 1, self.report.approximate_rows
        self._expect()

    def _check_chunks(self) -> None:
        chunking = self.export.chunking
        if chunking is None:
            raise AssertionError("only for chunked exports")
        key, nullable = key_of(self.source, self.query, self.schema, chunking)
        names = ", ".join(key)
        self.report.add("key", f"chunks are cut by {names}" + ("; rows without it are one more" if nullable else ""))
        served = self._check_index("chunk", key)
        rows = self.report.approximate_rows
        skew = None
        if len(key) == 1 and served:
            skew = self._check_skew(key[0], chunking.days, chunking.size)
        elif len(key) > 1:
            self._check_unique(key)
        elif self.indexes is not None:
            self.report.add("skew", "not looked at, for that would read the whole table", skipped=True)
        if chunking.count is not None:
            self.report.statements = chunking.count
            self.report.statement_rows = None if rows is None else -(-rows // chunking.count)
        elif chunking.size is not None and rows is not None:
            self.report.statements = max(1, -(-rows // chunking.size))
            self.report.statement_rows = max(min(chunking.size, rows), skew.largest if skew else 0)
        elif skew is not None and skew.periods is not None:
            self.report.statements, self.report.statement_rows = skew.periods, skew.largest
        if self.report.statements is not None and self.report.statements > MAX_CHUNKS:
            raise QueryError(
                f"there would be {self.report.statements} chunks; {MAX_CHUNKS} are the most",
                hint="choose a larger chunk",
            )

    def _check_index(self, what: str, columns: Sequence[str]) -> bool:
        """Report whether an index leads with the columns; return whether it is so."""
        names = ", ".join(columns)
        if self.query.table is None:
            self.report.add("index", f"not known for a query: one that leads with {names} is needed", skipped=True)
        elif self.indexes is None:
            self.report.add("index", f"not known: {self.query.table} has none of its own", skipped=True)
        elif self.indexes.leads_with(columns):
            self.report.add("index", f"an index leads with {names}")
            return True
        else:
            self.report.add(
                "index",
                f"no index leads with {names}: every {what} reads the whole table",
                warning=f"create an index on ({names}), or choose columns that have one",
            )
        return False

    def _check_cursor(self, settings: Incremental) -> None:
        self._check_unique(delivery_key(self.source, self.query, self.schema, settings))
        columns = [find_column(self.schema, name) for name in (settings.cursor, settings.fallback) if name]
        if settings.fallback:
            both = f"COALESCE({settings.cursor}, {settings.fallback})"
            self.report.add(
                "index",
                f"runs look for {both}, which an index on one column does not serve",
                warning=f"create an index on that expression; without one every run reads the whole {self._what}",
            )
        elif self._check_index("run", [settings.cursor]):
            plan_increment(self.source, self.query, self.schema, settings, position=Position())
            self.report.add("cursor", f"{settings.cursor} is never NULL, and has an order")
            columns = []
        if columns and all(column.nullable for column in columns):
            names = " and ".join(column.name for column in columns)
            self.report.add(
                "cursor",
                f"{names} may be NULL; a run would refuse such a row",
                warning="name a column that is never NULL with cursor_fallback_column",
            )
        # The first run reads everything; how much a later one finds, nobody knows.
        self.report.statements, self.report.statement_rows = 1, self.report.approximate_rows

    def _check_time(self, window: TimeWindow) -> None:
        find_column(self.schema, window.column)
        if self._check_index("run", [window.column]):
            plan_window(self.source, self.query, self.schema, window, started_at=datetime.now(UTC))
            self.report.add("time", f"{window.column} holds times")

    def _check_unique(self, key: Sequence[str]) -> None:
        """Report whether the database keeps a key unique; an empty one is the primary key."""
        if self.indexes is None or not key:
            return
        names = ", ".join(key)
        if self.indexes.is_unique(key):
            self.report.add("uniqueness", f"{names} is unique")
        else:
            self.report.add(
                "uniqueness",
                f"nothing in the database keeps {names} unique",
                warning="choose a key with a unique index, or see that it is unique by other means",
            )

    def _check_skew(self, column: str, days: int | None, size: int | None) -> Skew | None:
        table = self.query.table
        if table is None or self.indexes is None:
            return None
        if days is None and self.indexes.is_unique([column]):
            self.report.add("skew", f"{column} is unique: all chunks have the same number of rows")
            return None
        try:
            looks = KeyLooks(self.source, table, column)
            skew = looks.repeated_keys() if days is None else looks.periods(days)
        except RivetError as error:
            self.report.add("skew", f"not known: {error.message}", skipped=True)
            return None
        if skew is None:
            self.report.add("skew", "not known: there are no keys, or they are kept as text", skipped=True)
        elif days is None:
            self._report_repeated(column, skew, size)
        else:
            self._report_periods(skew, days)
        return skew

    def _report_repeated(self, column: str, skew: Skew, size: int | None) -> None:
        found = f"of {skew.looks} keys looked at, {skew.at_least}{skew.largest} rows have the same {column}"
        large = size is not None and skew.largest > size
        self.report.add(
            "skew", found, warning="rows with equal keys stay in one chunk: choose a unique key" if large else ""
        )

    def _report_periods(self, skew: Skew, days: int) -> None:
        periods, rows = skew.periods or 1, self.report.approximate_rows
        found = (
            f"{periods} chunks of {days} days; of {skew.looks} looked at, the fullest has "
            f"{skew.at_least}{skew.largest} rows"
        )
        if rows is None:
            self.report.add("skew", found)
            return
        average = rows / periods
        unequal = skew.largest > _UNEQUAL * max(average, 1)
        self.report.add(
            "skew",
            f"{found}, the average {average:.0f}",
            warning="chunk_size cuts chunks of equal size instead" if unequal else "",
        )

    def _expect(self) -> None:
        """Report how long a statement will take, at the speed of the sample."""
        rows = self.report.statement_rows
        if self.sample is None or not self.sample.rows or rows is None:
            why = "it is not known how many rows it reads" if self.sample else "no rows were read"
            self.report.add("statement", f"how long one takes is not known: {why}", skipped=True)
            return
        seconds = self.sample.seconds(rows)
        self.report.statement_seconds = round(seconds, 3)
        long = seconds > _LONG_SECONDS
        remedy = "choose a smaller chunk_size" if self.export.chunking else "read it in chunks: mode: chunked"
        self.report.add(
            "statement",
            f"{self.report.statements or 1} of about {rows:,} rows, about {seconds:.1f} s each",
            warning=f"servers and networks end long statements; {remedy}" if long else "",
        )
