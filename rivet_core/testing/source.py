"""The suite of sources: each row once, each value as it is, and never a write."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import pyarrow as pa
import pytest
import sqlalchemy

from rivet_core.api import (
    Check,
    Query,
    QueryError,
    ReadOptions,
    RivetError,
    Snapshot,
    Source,
    SourceContext,
    SourceError,
    SourceSpec,
    ValueRefused,
)
from rivet_core.config.validation import load_model
from rivet_core.contract.types import type_name
from rivet_core.plugins import Registry
from rivet_core.testing.catalog import proves
from rivet_core.testing.suite import Suite, not_applicable

__all__ = ["SourceHarness", "SourceSuite", "TypeCase"]

_ROWS = 2500
_BATCH_BYTES = 1_000_000
_ODD_TEXTS = ("", " ", "NULL", "'", '"', "\\", "\\n", "%s :x ${y} ?", "naïve 🦔", "line\r\nbreak", "tab\t", "0", "null")

Open = Callable[..., Source]


@dataclass(frozen=True)
class TypeCase:
    """One of the database's types and what becomes of it.

    Attributes:
        declared: the type in ``CREATE TABLE``, such as ``numeric(12,2)``.
        literal: a value in SQL, such as ``'1.50'``.
        type: the name of the column type in manifests, such as ``decimal(12,2)``.
        value: the value as Arrow gives it to Python.
    """

    declared: str
    literal: str
    type: str
    value: object


@dataclass(frozen=True)
class SourceHarness:
    """A database to test a source with. The kit makes tables in it, whose names begin with ``rivet_kit_``.

    Attributes:
        config: the fields of ``source`` in ``rivet.yaml``, without ``type``.
        engine: reaches the same database without the plugin, and may write there.
        types: the types that the source promises to keep.
        unreachable: like ``config``, and nothing answers there; ``None`` if that cannot be.
        secrets: values that no ``repr``, message or log may show; the password among them.
        exclude: ids of tests that this *database* cannot show, each with the reason.
    """

    config: Mapping[str, object]
    engine: sqlalchemy.Engine
    types: Sequence[TypeCase] = ()
    unreachable: Mapping[str, object] | None = None
    secrets: Sequence[str] = ()
    exclude: Mapping[str, str] = field(default_factory=dict)


class SourceSuite(Suite):
    """Proves that a source reads what is there. Subclass it, name the type and give a harness.

    Attributes:
        source: the type, as ``rivet.yaml`` says it; found through the entry point of the installed plugin.
    """

    harness_class = SourceHarness
    source: ClassVar[str]

    @pytest.fixture
    def spec(self, registry: Registry) -> SourceSpec:
        """What the plugin says about its source."""
        return registry.source(self.source)

    @pytest.fixture
    def open_source(self, registry: Registry, spec: SourceSpec, harness: SourceHarness) -> Iterator[Open]:
        """Open the plugin's source, with read options by name; every one is closed after the test."""
        opened: list[Source] = []
        dialect = registry.source_dialect(self.source)
        factory = cast("Callable[[object, SourceContext], object]", registry.load(spec, "factory"))

        def open_with(config: Mapping[str, object] = harness.config, **options: Any) -> Source:
            fields = {**config, **({"dialect": dialect} if dialect else {})}
            model = load_model(registry, spec).model_validate(fields)
            source = factory(model, SourceContext(Path.cwd(), ReadOptions(**options)))
            if not isinstance(source, Source):
                pytest.fail(f"the factory of {self.source!r} returned {source!r} instead of a Source")
            opened.append(source)
            return source

        yield open_with
        for source in opened:
            source.close()

    @pytest.fixture
    def database(self, open_source: Open) -> Source:
        """The plugin's source with default options."""
        return open_source()

    @pytest.fixture
    def make_table(self, harness: SourceHarness) -> Iterator[Callable[..., sqlalchemy.Table]]:
        """Make a table of ``id`` and ``note`` with some rows, past the plugin; it goes after the test."""
        made: list[sqlalchemy.Table] = []

        def make(
            rows: Sequence[tuple[int, str | None]],
            name: str = "",
            note: str = "note",
            note_type: sqlalchemy.types.TypeEngine[str] = sqlalchemy.Unicode(200),  # noqa: B008  immutable
        ) -> sqlalchemy.Table:
            table = sqlalchemy.Table(
                name or f"rivet_kit_{uuid.uuid4().hex[:8]}",
                sqlalchemy.MetaData(),
                sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True, autoincrement=False),
                sqlalchemy.Column(note, note_type),
                mysql_charset="utf8mb4",
                mariadb_charset="utf8mb4",
            )
            with harness.engine.begin() as connection:
                table.create(connection)
                made.append(table)
                if rows:
                    connection.execute(table.insert(), [{"id": key, note: text} for key, text in rows])
            return table

        yield make
        with harness.engine.begin() as connection:
            for table in made:
                table.drop(connection)

    @pytest.fixture
    def notes(self, make_table: Callable[..., sqlalchemy.Table]) -> str:
        """Name of a table of 2500 rows; every third note is NULL and every fifth empty."""
        return str(make_table([(i, _note(i)) for i in range(_ROWS)]).name)

    @proves(
        "Q-READ-1",
        breaks="rows are missing, doubled or changed although the run succeeded",
        hint="read until the driver has no more; the last, partly filled batch counts too",
    )
    def test_every_row_comes_once(self, database: Source, notes: str) -> None:
        for batch_bytes in (1, 1000, _BATCH_BYTES):
            rows = _rows(_read(database, database.table_query(notes), batch_bytes=batch_bytes))
            assert rows == [(i, _note(i)) for i in range(_ROWS)], f"with batch_bytes={batch_bytes}"

    @proves(
        "Q-READ-2",
        breaks="the manifest's schema is not the one of the parts",
        hint="describe(), the stream's schema and every batch agree, in names, types and nullability",
    )
    def test_describe_and_read_agree(self, database: Source, notes: str) -> None:
        for query in (database.table_query(notes), Query(f"SELECT note, id AS key_id FROM {notes}")):
            described = database.describe(query).arrow()
            with database.read(query, batch_bytes=_BATCH_BYTES) as stream:
                assert stream.schema == described
                for batch in stream:
                    assert batch.schema == described
            assert described.field("note").nullable, "a column with NULLs is declared not null"

    @proves(
        "Q-READ-3",
        breaks="a large table does not fit in memory",
        hint="close a batch before it is larger than batch_bytes; a single larger row comes alone",
    )
    def test_batches_keep_to_their_size(self, database: Source, notes: str) -> None:
        with database.read(database.table_query(notes), batch_bytes=10_000) as stream:
            batches = [(batch.num_rows, batch.nbytes) for batch in stream]
        assert len(batches) > 1
        assert [(rows, size) for rows, size in batches if rows > 1 and size > 10_000] == []

    @proves(
        "Q-READ-4",
        breaks="an export of an empty table fails, or loses its columns",
        hint="the schema comes from the columns of the result, not from its rows",
    )
    def test_an_empty_table_has_columns(self, database: Source, make_table: Callable[..., sqlalchemy.Table]) -> None:
        table = _read(database, database.table_query(make_table([]).name))
        assert table.column_names == ["id", "note"]
        assert table.num_rows == 0

    @proves(
        "Q-READ-5",
        breaks="text is damaged: NULL and the empty string are the same, backslashes vanish, letters change",
        hint="ask the driver for Unicode and do not touch the values",
    )
    def test_text_comes_as_it_is(self, database: Source, make_table: Callable[..., sqlalchemy.Table]) -> None:
        texts = [None, *_ODD_TEXTS, "x" * 200, None]
        table = make_table(list(enumerate(texts)))
        assert [text for _, text in _rows(_read(database, database.table_query(table.name)))] == texts

    @proves(
        "Q-READ-6",
        breaks="parallel workers get each other's rows, or wait for each other for ever",
        hint="each read() has a connection of its own",
    )
    def test_several_reads_at_once(self, database: Source, notes: str) -> None:
        def ids(start: int) -> list[int]:
            query = Query(f"SELECT id, note FROM {notes} WHERE id >= {start}")
            return [key for key, _ in _rows(_read(database, query, batch_bytes=1000))]

        with ThreadPoolExecutor(3) as threads:
            assert list(threads.map(ids, (0, 1000, 2000))) == [list(range(start, _ROWS)) for start in (0, 1000, 2000)]

    @proves(
        "Q-LEAVE-1",
        breaks="Ctrl-C and a failed upload hang until the database has sent the rest of a large table",
        hint="stream with a server-side or unbuffered cursor; when the block is left, cancel or drop the connection",
    )
    def test_leaving_early_is_prompt(self, database: Source, notes: str) -> None:
        # The fastest of interleaved tries: a busy machine delays some of them, not all of one kind.
        # Where it takes longer to connect than to read, there must be more to read.
        for times in (200, 800):
            large = Query(
                f"SELECT a.id AS i, b.note AS n FROM {notes} a, {notes} b"
                f" WHERE b.note IS NOT NULL AND b.id < {times * 3 // 2}"
            )
            whole, left = zip(
                *((_seconds_to_read(database, large, times), _seconds_to_leave(database, large)) for _ in range(3)),
                strict=True,
            )
            if min(left) < min(whole) / 3:
                return
            if min(whole) > 1:
                break
        pytest.fail(f"{min(left):.2f} s for the first batch, {min(whole):.2f} s for all rows")

    @proves(
        "Q-LEAVE-2",
        breaks="the reason why a run failed is hidden by an error of the clean-up",
        hint="let the block's exception pass when read() is left with one; clean up in silence",
    )
    def test_an_error_in_the_block_passes(self, database: Source, notes: str) -> None:
        error = RuntimeError("the upload failed")
        with pytest.raises(RuntimeError) as caught:
            _fail_while_reading(database, database.table_query(notes), error)
        assert caught.value is error

    @proves(
        "Q-LEAVE-3",
        breaks="a failed export keeps a lock on the table, and the application waits",
        hint="close cursor and connection when the block is left, also by an exception that somebody still holds",
    )
    def test_nothing_stays_locked(self, database: Source, harness: SourceHarness, notes: str) -> None:
        error = RuntimeError("the upload failed")
        with pytest.raises(RuntimeError):
            _fail_while_reading(database, database.table_query(notes), error)
        assert error.__traceback__ is not None
        with harness.engine.begin() as connection:
            connection.exec_driver_sql(f"DELETE FROM {notes} WHERE id = 0")

    @proves(
        "Q-QUERY-1",
        breaks="queries with %, : or ? in them fail, or mean something else",
        hint="api.sql.render finds the ${name} binds and doubles % where the driver formats; use it",
    )
    def test_the_text_goes_verbatim(self, database: Source, notes: str) -> None:
        text = f"""SELECT ':x %s %% ${{y}} ? ''q''' AS note, 10 % 4 AS rest -- ${{z}} :w ?
                   FROM {notes} WHERE id = 7 /* ' */ ; -- the end"""
        table = _read(database, Query(text))
        assert table.column("note").to_pylist() == [":x %s %% ${y} ? 'q'"]
        assert table.column("rest").to_pylist() == [2]

    @proves(
        "Q-QUERY-2",
        breaks="a --param can inject SQL",
        hint="bind values, never format them into the text; api.sql.arguments gives what the driver takes",
    )
    def test_values_are_bound(self, database: Source, make_table: Callable[..., sqlalchemy.Table]) -> None:
        odd = "x' OR '1'='1"
        table = make_table([(1, "x"), (2, odd), (3, None)])
        query = f"SELECT id, note FROM {table.name} WHERE note = ${{note}} OR note = ${{note}}"
        assert _rows(_read(database, Query(query, {"note": odd}))) == [(2, odd)]

    @proves(
        "Q-QUERY-3",
        breaks="a mistake in a query ends in a traceback, or an export succeeds with columns missing",
        hint="map the driver's errors to QueryError; refuse two statements and duplicate column names",
    )
    def test_wrong_queries_are_query_errors(self, database: Source, notes: str) -> None:
        wrong = {
            "syntax": Query("SELEC 1"),
            "no such table": Query("SELECT id FROM rivet_kit_missing"),
            "no such column": Query(f"SELECT missing FROM {notes}"),
            "two statements": Query(f"SELECT id FROM {notes}; DROP TABLE {notes}"),
            "no statement": Query(" -- nothing"),
            "no value for a bind": Query(f"SELECT id FROM {notes} WHERE id = ${{key}}"),
            "duplicate names": Query(f"SELECT id, id FROM {notes}"),
        }
        accepted = []
        for name, query in wrong.items():
            try:
                database.describe(query)
            except QueryError:
                continue
            accepted.append(name)
        assert accepted == [], "describe() raised no QueryError for these"

    @proves(
        "Q-WRITE-1",
        breaks="an export changes the database that it should only read",
        hint="open a read-only session or transaction, or accept queries only",
    )
    def test_nothing_is_written(self, database: Source, notes: str) -> None:
        for text in (f"DELETE FROM {notes}", f"INSERT INTO {notes} (id, note) VALUES (-1, 'x')", f"DROP TABLE {notes}"):
            with pytest.raises(RivetError):
                _read(database, Query(text))
        assert _read(database, database.table_query(notes)).num_rows == _ROWS

    @proves(
        "Q-TABLE-1",
        breaks="tables with odd names cannot be exported, or another table is",
        hint="quote names with engine.dialect.identifier_preparer",
    )
    def test_odd_table_and_column_names(self, database: Source, make_table: Callable[..., sqlalchemy.Table]) -> None:
        name = f'rivet_kit_Odd "name" {uuid.uuid4().hex[:8]}'
        make_table([(1, "x")], name, "group by")
        table = _read(database, database.table_query(name))
        assert table.to_pydict() == {"id": [1], "group by": ["x"]}

    @proves(
        "Q-TABLE-2",
        breaks="a typing error in a table's name ends in a traceback",
        hint="raise QueryError whose hint names similar tables (difflib.get_close_matches)",
    )
    def test_an_unknown_table_gets_a_hint(self, database: Source, notes: str) -> None:
        with pytest.raises(QueryError) as caught:
            database.table_query(f"{notes[:-1]}_")
        assert notes in caught.value.hint

    @proves(
        "Q-TYPE-1",
        breaks="values or types are silently others than in the database",
        hint="the mapping of a declared type does not depend on the values; NULL stays NULL",
    )
    def test_types_come_as_promised(self, database: Source, harness: SourceHarness) -> None:
        if not harness.types:
            not_applicable("the harness promises no types")
        wrong = []
        for case in harness.types:
            name = f"rivet_kit_{uuid.uuid4().hex[:8]}"
            with harness.engine.begin() as connection:
                connection.exec_driver_sql(f"CREATE TABLE {name} (id INTEGER, val {case.declared})")
                connection.exec_driver_sql(f"INSERT INTO {name} VALUES (1, {_escaped(case.literal, connection)})")
                connection.exec_driver_sql(f"INSERT INTO {name} VALUES (2, NULL)")
            try:
                table = _read(database, Query(f"SELECT id, val FROM {name}", table=database.table_query(name).table))
                column = table.sort_by("id").column("val")
                found = (type_name(column.type), column.to_pylist())
                if found != (case.type, [case.value, None]):
                    wrong.append(f"{case.declared} {case.literal}: {found} instead of {case.type} {case.value!r}")
            finally:
                with harness.engine.begin() as connection:
                    connection.exec_driver_sql(f"DROP TABLE {name}")
        assert not wrong, "\n".join(wrong)

    @proves(
        "Q-OPTION-1",
        breaks="an override in the configuration has no effect, and the column keeps a type that the reader cannot use",
        hint="apply ReadOptions.columns by name; refuse names that the result does not have",
    )
    def test_overrides_are_applied(self, open_source: Open, notes: str) -> None:
        overridden = open_source(columns={"id": pa.string()})
        table = _read(overridden, overridden.table_query(notes))
        assert table.schema.field("id").type == pa.string()
        assert set(table.column("id").to_pylist()) == set(map(str, range(_ROWS)))
        unknown = open_source(columns={"missing": pa.string()})
        with pytest.raises(RivetError, match="missing"):
            unknown.describe(unknown.table_query(notes))

    @proves(
        "Q-OPTION-2",
        breaks="one huge value takes all memory",
        hint="raise ValueRefused that names column and row for a value above ReadOptions.max_value_bytes",
    )
    def test_a_value_above_the_limit_is_refused(
        self, open_source: Open, make_table: Callable[..., sqlalchemy.Table]
    ) -> None:
        name = make_table([(1, "x" * 5000), (2, "x" * 5001)], note_type=sqlalchemy.UnicodeText()).name
        limited = open_source(max_value_bytes=5000)
        with pytest.raises(ValueRefused, match="note"):
            _read(limited, limited.table_query(name))
        assert _read(limited, Query(f"SELECT id, note FROM {name} WHERE id = 1")).num_rows == 1

    @proves(
        "Q-SPLIT-1",
        breaks="a table that is read by several workers loses rows at the seams, or doubles them",
        hint="the pieces are disjoint and cover everything, NULL keys and gaps included; [query] is always right",
    )
    def test_the_pieces_give_the_same_rows(self, database: Source, notes: str) -> None:
        query = database.table_query(notes)
        for n in (1, 2, 7):
            with database.snapshot(query, n) as snapshot:
                pieces = database.split(query, n)
                assert 1 <= len(pieces) <= n
                ids = [key for piece in pieces for key, _ in _rows(_read(database, piece, snapshot=snapshot))]
            assert sorted(ids) == list(range(_ROWS)), f"{len(pieces)} pieces have {len(ids)} rows"

    @proves(
        "Q-SNAPSHOT-1",
        breaks="a dataset mixes states of the database although its manifest says snapshot",
        hint="snapshot() gives None where the engine has no view that several workers can share",
    )
    def test_a_snapshot_does_not_see_what_others_write(
        self, database: Source, harness: SourceHarness, make_table: Callable[..., sqlalchemy.Table]
    ) -> None:
        before = [(1, "x"), (2, "gone"), (3, None)]
        table = make_table(before)
        query = database.table_query(table.name)
        with database.snapshot(query, 2) as snapshot:
            if snapshot is None:
                not_applicable("the source has no snapshots")
            assert snapshot.description
            with harness.engine.begin() as connection:
                connection.execute(table.insert(), [{"id": 4, "note": "late"}])
                connection.execute(table.update().where(table.c.id == 1).values(note="changed"))
                connection.execute(table.delete().where(table.c.id == 2))
            with ThreadPoolExecutor(2) as workers:  # at once, and each more than once
                seen = list(workers.map(lambda _: _rows(_read(database, query, snapshot=snapshot)), range(6)))
            assert seen == [before] * 6
            counted = database.fetch(Query(f"SELECT COUNT(*) FROM ({query.text}) t", query.params), snapshot=snapshot)
            assert [tuple(row) for row in counted] == [(3,)], "fetch() does not see what read() sees"
        assert _rows(_read(database, query)) == [(1, "changed"), (3, None), (4, "late")]

    @proves(
        "Q-SNAPSHOT-2",
        breaks="a chunk that is read a second time shows another instant, or waits for ever",
        hint="a read that is left early gives its place back, in the same view",
    )
    def test_a_snapshot_outlives_reads_that_are_left(self, database: Source, notes: str) -> None:
        query = database.table_query(notes)
        with database.snapshot(query, 1) as snapshot:
            if snapshot is None:
                not_applicable("the source has no snapshots")
            for _ in range(3):
                with database.read(query, batch_bytes=1000, snapshot=snapshot) as stream:
                    assert next(iter(stream)).num_rows > 0
                with pytest.raises(QueryError):
                    _read(database, Query(f"SELECT missing FROM {notes}"), snapshot=snapshot)
            assert _read(database, query, snapshot=snapshot).num_rows == _ROWS

    @proves(
        "Q-SNAPSHOT-3",
        breaks="tables stay locked after a snapshot run, and old row versions are kept for ever",
        hint="end every transaction of the view when its block is left, also by an exception",
    )
    def test_nothing_of_a_snapshot_stays(
        self, database: Source, harness: SourceHarness, make_table: Callable[..., sqlalchemy.Table]
    ) -> None:
        table = make_table([(1, "x")])
        query = database.table_query(table.name)
        error = RuntimeError("the upload failed")
        with pytest.raises(RuntimeError) as caught:
            _fail_in_a_snapshot(database, query, error)
        assert caught.value is error
        with harness.engine.begin() as connection:  # needs the table for itself
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN more INTEGER")

    @proves(
        "Q-COUNT-1",
        breaks="progress shows nonsense, or a count of a large table delays every run",
        hint="approximate_rows() gives the engine's own estimate, or None",
    )
    def test_the_estimate_is_a_number_or_none(self, database: Source, notes: str) -> None:
        for query in (database.table_query(notes), Query(f"SELECT id FROM {notes} WHERE id < 3")):
            estimate = database.approximate_rows(query)
            assert estimate is None or (isinstance(estimate, int) and estimate >= 0)

    @proves(
        "Q-ENGINE-1",
        breaks="bounds and counts cannot be asked for, so chunked exports fail",
        hint="engine reaches the same database as read()",
    )
    def test_the_engine_reaches_the_same_database(self, database: Source, notes: str) -> None:
        assert database.engine_name
        with database.engine.connect() as connection:
            found = connection.exec_driver_sql(f"SELECT count(*), min(id), max(id) FROM {notes}").one()
        assert tuple(found) == (_ROWS, 0, _ROWS - 1)

    @proves(
        "Q-CHECK-1",
        breaks="rivet doctor cannot say whether the database answers, or ends in a traceback itself",
        hint="check() yields a failed Check with a hint instead of raising",
    )
    def test_doctor_says_whether_it_answers(self, database: Source, open_source: Open, harness: SourceHarness) -> None:
        checks = list(database.check())
        assert checks
        assert all(isinstance(check, Check) for check in checks)
        assert [check.message for check in checks if check.status == "failed"] == []
        if harness.unreachable is not None:
            failed = [check for check in open_source(harness.unreachable).check() if check.status == "failed"]
            assert failed
            assert failed[0].message

    @proves(
        "Q-ERROR-1",
        breaks="a database that is down ends in a traceback",
        hint="map the driver's connection errors to SourceUnavailable, and refused logins to SourceDenied",
    )
    def test_an_unreachable_database_is_a_source_error(self, open_source: Open, harness: SourceHarness) -> None:
        if harness.unreachable is None:
            not_applicable("the harness names no unreachable database")
        absent = open_source(harness.unreachable)
        with pytest.raises(SourceError) as caught:
            absent.describe(Query("SELECT 1 AS x"))
        assert caught.value.message

    @proves(
        "Q-SECRET-1",
        breaks="the password ends up in logs and error reports",
        hint="mask URLs, do not chain the driver's exceptions, and register_secret what is read from the configuration",
    )
    def test_no_secret_is_shown(
        self, open_source: Open, harness: SourceHarness, caplog: pytest.LogCaptureFixture
    ) -> None:
        if not harness.secrets:
            not_applicable("the harness names no secrets")
        shown: list[object] = []
        with caplog.at_level(logging.DEBUG):
            for config in (harness.config, harness.unreachable or harness.config):
                source = open_source(config)
                shown += [repr(source), source, source.engine, *source.check()]
                try:
                    source.describe(Query("SELECT missing FROM rivet_kit_missing"))
                except RivetError as error:
                    shown += [repr(error), error, error.hint, error.args, error.__cause__]
        texts = [str(item) for item in shown] + [record.getMessage() for record in caplog.records]
        leaks = [index for index, secret in enumerate(harness.secrets) if any(secret in text for text in texts)]
        assert not leaks, f"the secrets {leaks} (counted from 0) are shown"


def _seconds_to_read(source: Source, query: Query, times: int) -> float:
    started = time.monotonic()
    with source.read(query, batch_bytes=10_000) as stream:
        assert sum(batch.num_rows for batch in stream) == _ROWS * times
    return time.monotonic() - started


def _seconds_to_leave(source: Source, query: Query) -> float:
    started = time.monotonic()
    with source.read(query, batch_bytes=10_000) as stream:
        assert next(iter(stream)).num_rows > 0
    return time.monotonic() - started


def _fail_while_reading(source: Source, query: Query, error: Exception, *, snapshot: Snapshot | None = None) -> None:
    with source.read(query, batch_bytes=1000, snapshot=snapshot) as stream:
        next(iter(stream))
        raise error


def _fail_in_a_snapshot(source: Source, query: Query, error: Exception) -> None:
    with source.snapshot(query, 2) as snapshot:
        if snapshot is None:
            not_applicable("the source has no snapshots")
        _fail_while_reading(source, query, error, snapshot=snapshot)


def _note(number: int) -> str | None:
    return None if number % 3 == 0 else "" if number % 5 == 0 else f"note {number}"


def _read(
    source: Source, query: Query, *, batch_bytes: int = _BATCH_BYTES, snapshot: Snapshot | None = None
) -> pa.Table:
    with source.read(query, batch_bytes=batch_bytes, snapshot=snapshot) as stream:
        return pa.Table.from_batches(stream, stream.schema)


def _rows(table: pa.Table) -> list[tuple[int, str | None]]:
    """Return the rows of ``id`` and ``note`` in the order of the ids."""
    rows: list[Any] = list(zip(table.column("id").to_pylist(), table.column("note").to_pylist(), strict=True))
    return sorted(rows, key=lambda row: row[0])


def _escaped(literal: str, connection: sqlalchemy.Connection) -> str:
    """Return a literal for a driver that may look for ``%`` in the text."""
    return literal.replace("%", "%%") if connection.dialect.paramstyle in {"format", "pyformat"} else literal
