"""The verb ``run`` for a stream: one export, bytes out, nothing certified and nothing remembered."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, cast

from rivet_core.api.errors import UsageError
from rivet_core.contract import keys
from rivet_core.engine import plan
from rivet_core.engine.counters import Counters
from rivet_core.engine.result import RunResult, error_report, timestamp
from rivet_core.engine.selecting.time_window import plan_window
from rivet_core.engine.store import open_stream
from rivet_core.engine.writing.memory import MemoryPlan
from rivet_core.engine.writing.rows import RowSteps
from rivet_core.engine.writing.upload import Sink, buffered

if TYPE_CHECKING:
    from rivet_core.config import Config, ExportConfig
    from rivet_core.plugins import Registry


logger = logging.getLogger(__name__)


def _check_stream(exports: tuple[ExportConfig, ...], *, validate: bool) -> ExportConfig:
    """Return the one export of a run into a stream."""
    if len(exports) != 1:
        raise UsageError(
            f"{len(exports)} exports cannot share one stream: {', '.join(export.name for export in exports)}",
            hint="select one with -e NAME",
        )
    if validate:
        raise UsageError(
            "a stream cannot be validated: its bytes are gone",
            hint="leave --validate and --reconcile out, or export to a store",
        )
    (export,) = exports
    if export.incremental is not None:
        raise UsageError(
            "an incremental export needs a store: what was delivered is known by the dataset that is certified there",
            hint="export to a store, or choose mode: time_window",
        )
    _refuse_policies(export)
    return export


def _refuse_policies(export: ExportConfig) -> None:
    """Refuse what only a store can keep: a stream's bytes are gone before the last row is known."""
    if export.quality.is_set:
        raise UsageError(
            f"{export.name!r} has quality gates, and a stream has delivered its rows before they are judged",
            hint="leave quality out, or export to a store",
        )
    if export.on_schema_drift == "fail":
        raise UsageError(
            f"{export.name!r} has on_schema_drift: fail, and a stream keeps no columns to compare with",
            hint="leave it out, or export to a store",
        )


def run_stream(
    config: Config,
    exports: tuple[ExportConfig, ...],
    registry: Registry,
    params: Mapping[str, str],
    watch: Callable[[str, Counters], AbstractContextManager[object]],
    *,
    validate: bool,
) -> RunResult:
    """Write the one selected export to its stream.

    Raises:
        UsageError: several exports would be mixed into one stream, or something is asked that needs a store.
        BrokenPipeError: the reader closed the pipe.
    """
    export = _check_stream(exports, validate=validate)
    started = datetime.now(UTC)
    counters = Counters(phase="exporting")
    result = RunResult(
        export=export.name,
        run_id=keys.make_run_id(export.name, started, os.urandom(2)),
        mode=export.mode,
        prefix=export.destination.spec.type,
        started_at=timestamp(started),
    )
    try:
        with watch(export.name, counters):
            _copy(config, export, registry, params, counters, started=started)
        result.status = "succeeded"
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        logger.debug("the run ended", exc_info=True)
        result.error = error_report(error, export.name)
        if isinstance(error, KeyboardInterrupt):
            result.status = "interrupted"
    finally:
        result.rows, result.bytes = counters.rows, counters.bytes_written
        result.longest_statement_seconds = counters.longest_statement_seconds
        result.finish(config.base_dir)
    return result


def _copy(
    config: Config,
    export: ExportConfig,
    registry: Registry,
    params: Mapping[str, str],
    counters: Counters,
    *,
    started: datetime,
) -> None:
    with closing(plan.open_source(config, export, registry)) as source:
        memory = MemoryPlan.divide(config.memory_budget, None, read_overhead=source.read_overhead)
        query, schema = plan.describe_query(source, export, params)
        rows = RowSteps(schema, exported_at=started if export.exported_at else None)
        if export.time_window is None:
            counters.approximate_rows = source.approximate_rows(query)
        else:
            window = plan_window(source, query, schema, export.time_window, started_at=started)
            query = window.chunks.chunks[0].query
        format_ = plan.open_format(export, registry)
        with open_stream(export.destination, registry, config.base_dir).open() as stream:
            sink = Sink(stream.write)
            try:
                buffer = buffered(sink)
                encoder = format_.encoder(cast("BinaryIO", buffer), rows.schema, group_bytes=memory.group_bytes)
                with closing(encoder), source.read(query, batch_bytes=memory.batch_bytes) as batches:
                    for batch in batches:
                        encoder.write(rows.apply(batch))
                        counters.rows += batch.num_rows
                        counters.bytes_written = buffer.tell()
                    counters.timed(batches.longest_statement_seconds)
                    encoder.finish()
                buffer.flush()
                counters.bytes_written = buffer.tell()
            finally:
                sink.shut()
