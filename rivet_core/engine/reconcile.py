"""The verb ``reconcile``: compares what a prefix holds with what the source has now. Writes nothing.

It goes by the certified manifest alone: the ranges of its chunks say which rows each part stands for. Counts are one
``COUNT(*)`` for each partition; ``content`` compares the rows themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rivet_core.api.errors import TrustError
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.partitions import Partition, partitions
from rivet_core.contract.reconciliation import KeyExamples, PartitionReport, ReconcileReport, Result, overall
from rivet_core.contract.verdict import Verdict, judge
from rivet_core.engine import plan
from rivet_core.engine.comparing.content import ContentComparison, UnreadablePart, compare_columns
from rivet_core.engine.prefix import look, was_replaced
from rivet_core.engine.proof import prove_part
from rivet_core.engine.selecting.ranges import Ranges, count_all
from rivet_core.engine.selecting.view import ask_again, log_again
from rivet_core.engine.store import open_store
from rivet_core.engine.tries import keep_trying

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination
    from rivet_core.api.format import Format
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import Config, ExportConfig
    from rivet_core.contract.manifest import Manifest, Part
    from rivet_core.engine.comparing.netting import Differences
    from rivet_core.engine.plan import PrefixChoice
    from rivet_core.engine.prefix import PrefixView
    from rivet_core.plugins import Registry

# A dataset that is replaced while it is compared is compared anew; no prefix is replaced this often for long.
_ATTEMPTS: Final = 3
_ASKING_WORKERS: Final = 8
_VERSIONS: Final = "the dataset has {more} rows more: earlier versions of rows, or rows that are gone"


@dataclass(frozen=True)
class Counted:
    """The rows of the source and of a dataset.

    Attributes:
        source_rows: ``None`` if they cannot be compared.
        reason: why not, or how they differ.
    """

    result: Result
    rows: int
    source_rows: int | None
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return asdict(self)


def difference(rows: int, source_rows: int | None) -> str:
    """Return what two different counts say; empty for equal ones."""
    if source_rows is None or source_rows == rows:
        return ""
    return f"the source has {source_rows} rows, the dataset {rows}"


def count_dataset(source: Source, query: Query, schema: SourceSchema, manifest: Manifest) -> Counted:
    """Compare the number of rows of a dataset with the source's, as far up the key as the dataset reaches.

    Raises:
        SourceError: the source failed.
    """
    comparison = Comparison(source, query, schema, manifest)
    if comparison.incomparable:
        return Counted("unknown", manifest.row_count, None, comparison.incomparable)
    try:
        found = comparison.count_reached()
    except ValueError as error:
        return Counted("unknown", manifest.row_count, None, str(error))
    result, reason = comparison.judge(manifest.row_count, found)
    return Counted(result, manifest.row_count, found, reason)


class Comparison:
    """A certified dataset beside the query that it came from.

    Args:
        schema: the columns of the query now.

    Attributes:
        partitions: those of the dataset, in the order of the key.
        columns: the key that they are ranges of; empty for none.
        versions: the dataset keeps every version of a row, so that it may have more of them than the source.
        incomparable: why counts tell nothing at all; empty where they do.
    """

    def __init__(self, source: Source, query: Query, schema: SourceSchema, manifest: Manifest) -> None:
        self.source = source
        self.query = query
        self.versions = manifest.source.extraction.strategy == "incremental"
        nullable = {column.name for column in schema.columns if column.nullable}
        range_ = partitions(manifest)[0].range
        self.columns: tuple[str, ...] = range_.columns if range_ else ()
        self.partitions = partitions(manifest, nulls=not nullable.isdisjoint(self.columns))
        self.incomparable = self._why_not({column.name for column in schema.columns})
        self._ranges: Ranges | None = None

    def count(self, partition: Partition) -> int:
        """Return how many rows of the source belong to a partition.

        Raises:
            ValueError: its bounds are no values of the source's key.
            SourceError: the source failed.
        """
        if partition.range is None:
            return count_all(self.source, self.query)
        return self.ranges.count(partition.range)

    def count_reached(self) -> int:
        """Return how many rows of the source belong to any partition; those that arrived beyond them do not.

        Raises:
            ValueError: the bounds are no values of the source's key.
        """
        beyond = self.partitions[-1].range
        if self.partitions[-1].kind != "beyond" or beyond is None:
            return self.count(self.partitions[0])
        keyed = self.ranges.count(beyond.model_copy(update={"low": None, "high": beyond.low}))
        return keyed + sum(self.count(partition) for partition in self.partitions if partition.kind == "nulls")

    def rows_of(self, partition: Partition) -> Query | None:
        """Return the query of a partition's rows; ``None`` if the source can have none.

        Raises:
            ValueError: its bounds are no values of the source's key.
        """
        return self.query if partition.range is None else self.ranges.query(partition.range)

    @property
    def ranges(self) -> Ranges:
        """The ranges of the key; the source is asked once for what kind of values it has.

        Raises:
            ValueError: its values can bound no range.
        """
        if self._ranges is None:
            self._ranges = Ranges(self.source, self.query, self.columns)
        return self._ranges

    def judge(self, rows: int, source_rows: int) -> tuple[Result, str]:
        """Say what two counts mean; the reason is empty for a match."""
        if self.versions and rows > source_rows:
            return "unknown", _VERSIONS.format(more=rows - source_rows)
        reason = difference(rows, source_rows)
        return ("mismatch" if reason else "match"), reason

    def _why_not(self, names: set[str]) -> str:
        gone = [name for name in self.columns if name not in names]
        return f"the source has no column {', '.join(gone)} any more" if gone else ""


def reconcile_export(
    config: Config,
    export: ExportConfig,
    registry: Registry,
    choice: PrefixChoice,
    params: Mapping[str, str],
    *,
    content: bool = False,
) -> ReconcileReport:
    """Compare what is certified at a prefix with the source.

    Args:
        content: compare rows, not only their number; then parts are proven as ``rivet validate`` does, too.

    Raises:
        TrustError: nothing is certified at the prefix, or it was tampered with.
        RivetError: source or destination failed.
    """
    found = plan.resolve_destination(export, choice)
    reread = content and found.spec.capabilities.rehash_on_validate
    with closing(open_store(found, registry, config.base_dir)) as destination:
        _, report = look_and_compare(config, export, registry, destination, params, content=content, reread=reread)
        return report


def look_and_compare(
    config: Config,
    export: ExportConfig,
    registry: Registry,
    destination: Destination,
    params: Mapping[str, str],
    *,
    content: bool = False,
    reread: bool,
) -> tuple[PrefixView, ReconcileReport]:
    """Return a look at a prefix, and how what it shows compares with the source. See ``reconcile_export``.

    Args:
        reread: read the bytes of the parts even where the version or a checksum would prove them equal.
    """
    with closing(plan.open_source(config, export, registry)) as source:
        for _ in range(_ATTEMPTS):
            view = look(destination)
            query, schema = plan.describe_query(source, export, params)
            reconciliation = _Reconciliation(
                destination,
                view,
                ask_again(source),
                query,
                schema,
                export.name,
                reread=reread,
                format_of=lambda name: plan.open_named_format(name, export, registry),
            )
            report = reconciliation.report(content=content)
            if report.result == "match" or not was_replaced(destination, view):
                break
        return view, report


def certified_dataset(destination: Destination, view: PrefixView) -> Manifest | None:
    """Return the dataset that is certified at a prefix; ``None`` for a legacy run, of which nothing is known.

    Raises:
        TrustError: the prefix has no dataset, or contradicts itself.
    """
    verdict = judge(view.control.facts(view.listing, parts_failed=False))
    if verdict.exit_code != 0:
        raise TrustError(
            f"{destination.uri} holds no certified dataset: {verdict.value}, {verdict.meaning}",
            hint="`rivet validate` says more; `rivet run` exports it anew",
        )
    return None if verdict is Verdict.LEGACY_RUN else view.control.certified


def manifest_fingerprint(view: PrefixView) -> str | None:
    """Return the fingerprint of the certified manifest."""
    key = view.control.certified_key
    return None if key is None else fingerprint(view.manifests[key].control.data)


def damaged_parts(destination: Destination, view: PrefixView, manifest: Manifest, *, reread: bool) -> dict[str, str]:
    """Return what is wrong with the parts of a dataset, by path.

    Args:
        reread: read the bytes even where the version or a checksum would prove them equal.
    """

    def check(part: Part) -> tuple[str, str]:
        finding = prove_part(destination, part, view.listing.get(part.path), reread=reread).finding
        return part.path, {"same": "", "missing": "is missing"}.get(finding, f"is damaged: {finding}")

    with ThreadPoolExecutor(_ASKING_WORKERS, thread_name_prefix="rivet-reconcile") as pool:
        return {path: problem for path, problem in pool.map(check, manifest.committed_parts()) if problem}


@dataclass(frozen=True)
class _Reconciliation:
    destination: Destination
    view: PrefixView
    source: Source
    query: Query
    schema: SourceSchema
    export: str
    reread: bool
    format_of: Callable[[str], Format]

    def report(self, *, content: bool) -> ReconcileReport:
        manifest = certified_dataset(self.destination, self.view)
        facts = {
            "export": self.export,
            "resolved_prefix": self.destination.uri,
            "checked_at": datetime.now(UTC),
        }
        if manifest is None:
            reason = "there are files without a manifest: nothing says which rows they hold"
            return ReconcileReport(**facts, compared="counts", result="unknown", reason=reason)
        comparison = Comparison(self.source, self.query, self.schema, manifest)
        damaged = damaged_parts(self.destination, self.view, manifest, reread=self.reread)
        rows, differing = None, tuple[str, ...]()
        if content and not comparison.incomparable and not comparison.versions:
            columns = compare_columns(self.source, self.query, self.schema, manifest, comparison.columns)
            differing = columns.differences
            if columns.names or not differing:  # without a column in common only rows can be counted
                rows = ContentComparison(self.source, self.destination, manifest, columns, self.format_of)
        found = [self._compare(comparison, partition, damaged, rows) for partition in comparison.partitions]
        found = [item for item in found if item.kind != "beyond" or item.source_rows]
        inside = [item for item in found if item.kind != "beyond"]
        counts = [item.source_rows for item in inside if item.source_rows is not None]
        return ReconcileReport(
            **facts,
            run_id=manifest.run_id,
            manifest_fingerprint=manifest_fingerprint(self.view),
            compared="content" if rows else "counts",
            key=rows.columns.key if rows else comparison.columns,
            result=overall([*(item.result for item in inside), "mismatch" if differing else "match"]),
            reason=comparison.incomparable,
            rows=manifest.row_count,
            source_rows=sum(counts) if len(counts) == len(inside) else None,
            columns=differing,
            partitions=tuple(found),
        )

    def _compare(
        self,
        comparison: Comparison,
        partition: Partition,
        damaged: Mapping[str, str],
        content: ContentComparison | None,
    ) -> PartitionReport:
        problems = [f"{part.path} {damaged[part.path]}" for part in partition.parts if part.path in damaged]
        found = _Found(reason=comparison.incomparable)
        if not comparison.incomparable:
            try:
                if content is None or problems or partition.kind == "beyond":
                    found = _counted(comparison, partition)
                else:
                    found = _compared(content, comparison.rows_of(partition), partition.parts)
            except UnreadablePart as error:
                problems.append(str(error))
            except ValueError as error:
                found = _Found(reason=str(error))
        if problems:
            found = replace(found, result="mismatch", reason="; ".join([*problems, *filter(None, [found.reason])]))
        return PartitionReport(
            number=partition.number,
            kind=partition.kind,
            range=partition.range,
            parts=tuple(part.path for part in partition.parts),
            rows=partition.rows,
            **asdict(found) | {"examples": found.examples},
        )


@dataclass(frozen=True)
class _Found:
    """What comparing one partition has shown; see ``PartitionReport``."""

    result: Result = "unknown"
    reason: str = ""
    source_rows: int | None = None
    missing: int | None = None
    extra: int | None = None
    changed: int | None = None
    examples: KeyExamples = field(default_factory=KeyExamples)


def _counted(comparison: Comparison, partition: Partition) -> _Found:
    source_rows = comparison.count(partition)
    if partition.kind == "beyond":
        return _Found("unknown", "they arrived after the run, and the next one has them", source_rows)
    return _Found(*comparison.judge(partition.rows, source_rows), source_rows)


def _compared(content: ContentComparison, query: Query | None, parts: Sequence[Part]) -> _Found:
    """Compare rows, from the first one again where the source was unavailable in between."""
    return _differing(*keep_trying(lambda: content.compare(query, parts), log_again))


def _differing(source_rows: int, differences: Differences, examples: KeyExamples) -> _Found:
    counts = {"missing": differences.missing, "extra": differences.extra, "changed": differences.changed}
    reason = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    return _Found("mismatch" if reason else "match", reason, source_rows, **counts, examples=examples)
