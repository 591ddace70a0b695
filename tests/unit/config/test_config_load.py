"""A whole ``rivet.yaml``: what a valid one becomes and how a wrong one is explained."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from rivet_core.api import ConfigError, UsageError
from rivet_core.config import Chunking, ConfigProblems, load, resolve

MINIMAL = """\
source: {type: postgres, url: postgresql://reader@db/shop}
exports:
  - name: orders
    table: public.orders
    destination: {type: local, path: out}
"""


def test_defaults(load_text, tmp_path):
    config = load_text(MINIMAL)
    (export,) = config.exports
    assert config.base_dir == tmp_path
    assert config.state_url.reveal() == f"sqlite:///{tmp_path}/.rivet_state.db"
    assert config.memory_budget == 256_000_000
    assert (export.mode, export.empty, export.superseded, export.max_file_size) == ("full", "file", "quarantine", None)
    assert export.format.spec.name == "parquet"
    assert export.format.model.compression == "zstd"
    assert export.query is None
    options = export.read_options()
    assert (dict(options.columns), options.unbounded_numeric) == ({}, "error")
    assert (options.zero_dates, options.tinyint1, options.max_value_bytes) == ("error", "number", 16_000_000)


def test_every_field(load_text):
    config = load_text(
        """\
        source:
          type: sqlalchemy
          dialect: oracle
          host: db
          port: ${PORT}
        state: {url: "postgresql://state@host/rivet"}
        memory_budget: 1GiB
        exports:
          - name: "Bestellungen 2.0 – größe"
            query: select '${x}' from t
            mode: full
            format: {type: csv, delimiter: ";"}
            compression: none
            max_file_size: 64MiB
            empty: skip
            columns: {amount: decimal(18,2), on: string, 7: int64}
            types: {unbounded_numeric: decimal(38, 9), zero_dates: null, tinyint1: bool, max_value_bytes: 1MB}
            superseded: keep
            destination: {type: local, path: out}
        """.replace(" – ", " - "),
        {"PORT": "5433"},
    )
    (export,) = config.exports
    assert config.source.model.port == 5433
    assert config.source.model.dialect == "oracle"
    assert config.state_url.reveal() == "postgresql://state@host/rivet"
    assert config.memory_budget == 2**30
    assert export.name == "Bestellungen 2.0 - größe"
    assert export.query == "select '${x}' from t"
    assert (export.format.spec.name, export.format.model.delimiter) == ("csv", ";")
    assert export.max_file_size == 64 * 2**20
    assert export.columns == {"amount": pa.decimal128(18, 2), "on": pa.string(), "7": pa.int64()}
    assert export.read_options().unbounded_numeric == "decimal(38,9)"
    assert export.read_options().zero_dates == "null"
    assert export.read_options().tinyint1 == "bool"


def test_fallback_type_gives_the_dialect(load_text):
    source = load_text(MINIMAL).source
    assert (source.type, source.spec.type, source.model.dialect) == ("postgres", "sqlalchemy", "postgresql")


def test_all_problems_at_once_in_the_order_of_the_file(load_text, tmp_path):
    text = """\
        source: {type: mongodb}
        memory_budget: lots
        exports:
          - name: orders
            table: orders
            query: select 1
            parallel: none
            compresion: zstd
            format: csv
            compression: zstd
            columns:
              id: int65
            destination: {type: s3, bucket: x}
          - name: orders
            mode: fast
            destination:
              type: bucket
              prefix: "{datum}"
        """
    with pytest.raises(ConfigProblems) as caught:
        load_text(text)
    error = caught.value
    assert [(item.line, item.field) for item in error.problems] == [
        (1, "source.type"),
        (2, "memory_budget"),
        (4, "exports[0]"),
        (7, "exports[0].parallel"),
        (8, "exports[0].compresion"),
        (10, "exports[0].compression"),
        (12, "exports[0].columns.id"),
        (13, "exports[0].destination.type"),
        (14, "exports[1].name"),
        (14, "exports[1]"),
        (15, "exports[1].mode"),
        (16, "exports[1].destination.bucket"),
    ]
    assert error.exit_code == 2
    for item in error.problems:
        assert item.file == str(tmp_path / "rivet.yaml")
        assert f"rivet.yaml:{item.line}: {item.field}: {item.message}" in error.message
        assert item.hint in error.message


def test_one_problem_is_the_message_and_its_hint_the_hint(load_text):
    with pytest.raises(ConfigProblems) as caught:
        load_text(MINIMAL.replace("table:", "tabel:"))
    assert [item.field for item in caught.value.problems] == ["exports[0]", "exports[0].tabel"]
    with pytest.raises(ConfigProblems) as caught:
        load_text(MINIMAL + "    modes: full\n")
    assert str(caught.value).endswith("rivet.yaml:6: exports[0].modes: unknown field")
    assert caught.value.hint == 'did you mean "mode"?'


@pytest.mark.parametrize(
    ("line", "field", "message", "hint"),
    [
        ("mode: fast", "mode", "must be 'full', 'chunked', 'incremental' or 'time_window'", ""),
        ("chunk_size: 0", "chunk_size", "greater than or equal to 1", ""),
        ("chunk_column: []", "chunk_column", "at least 1 item", ""),
        ("quality: {row_count_min: -1}", "quality.row_count_min", "greater than or equal to 0", ""),
        ("quality: {null_ratio_max: {note: 2}}", "quality.null_ratio_max.note", "less than or equal to 1", ""),
        ("lag: soon", "lag", "is no duration", "15m"),
        ("consistency: eventual", "consistency", "must be 'per_chunk' or 'snapshot'", ""),
        ("parallel: 0", "parallel", "greater than or equal to 1", ""),
        ("max_file_size: 0", "max_file_size", "size of at least one byte", "64MiB"),
        ("max_file_size: 5 parsecs", "max_file_size", "size of at least one byte", "64MiB"),
        ("max_file_size: true", "max_file_size", "size of at least one byte", "64MiB"),
        ("empty: maybe", "empty", "must be 'file' or 'skip'", ""),
        ("types: {unbounded_numeric: int64}", "types.unbounded_numeric", "a decimal type", "decimal(38,9)"),
        ("types: {zero_date: null}", "types.zero_date", "unknown field", '"zero_dates"'),
        ("types: {max_value_bytes: 256MB}", "types.max_value_bytes", "memory_budget", "raise memory_budget"),
        ("format: avro", "format", "no installed plugin provides format 'avro'", "pip install rivet-avro"),
        ("format: {delimiter: x}", "format.type", "is required", "csv, parquet"),
        ("format: [csv]", "format", "must be", ""),
        ("format: {type: csv, delimeter: x}", "format.delimeter", "unknown field", '"delimiter"'),
        ("format: {type: csv, delimiter: xx}", "format.delimiter", "at most 1 character", ""),
        ("compression: snappy", "compression", "must be 'zstd' or 'none'", ""),
        ("superseded: burn", "superseded", "'quarantine', 'keep' or 'delete'", ""),
        ("columns: [id]", "columns", "must be a mapping", ""),
    ],
)
def test_one_wrong_field(problems_of, line, field, message, hint):
    ((at, name, said, advice),) = problems_of(MINIMAL + f"    {line}\n")
    assert (at, name) == (6, f"exports[0].{field}")
    assert message in said
    assert hint in advice


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        ("chunk_size: 5", "chunk_size means nothing in mode full", "mode: chunked"),
        (
            "{mode: incremental, cursor_column: id, parallel: 2}",
            "parallel means nothing in mode incremental",
            "mode: chunked",
        ),
        ("{mode: chunked, chunk_size: 5, chunk_count: 2}", "chunk_size and chunk_count", "keep one"),
        ("cursor_column: id", "cursor_column means nothing in mode full", "add mode: incremental"),
        ("mode: incremental", "mode incremental needs cursor_column", "add cursor_column"),
        ("mode: time_window", "mode time_window needs time_column and window_days", "add time_column"),
    ],
)
def test_fields_that_do_not_go_with_the_mode(problems_of, lines, message, hint):
    added = lines.strip("{}").replace(", ", "\n    ")
    ((_, name, said, advice),) = problems_of(MINIMAL + f"    {added}\n")
    assert name == "exports[0]"
    assert message in said
    assert hint in advice


@pytest.mark.parametrize(
    ("lines", "chunking"),
    [
        ([], Chunking(size=500_000)),
        (["chunk_column: id", "chunk_count: 3", "parallel: 4"], Chunking(("id",), count=3)),
        (["chunk_column: [a, b]", "chunk_by_days: 7"], Chunking(("a", "b"), days=7)),
    ],
)
def test_how_chunks_are_cut(load_text, lines, chunking):
    text = MINIMAL + "".join(f"    {line}\n" for line in ["mode: chunked", *lines])
    assert load_text(text).exports[0].chunking == chunking
    assert load_text(MINIMAL).exports[0].chunking is None


@pytest.mark.parametrize(
    ("lines", "parallel"),
    [([], 2), (["parallel: 1"], 1), (["mode: chunked"], 1), (["mode: chunked", "parallel: 4"], 4)],
)
def test_how_many_connections_read_at_the_same_time(load_text, lines, parallel):
    text = MINIMAL + "".join(f"    {line}\n" for line in lines)
    assert load_text(text).exports[0].parallel == parallel


@pytest.mark.parametrize("name", ["", " a", "a ", ".", "..", ".hidden", "a/b", "a\\b", "a\tb", "{date}", "ä" * 81])
def test_names_that_cannot_stand_in_a_path_are_refused(problems_of, name):
    text = MINIMAL.replace("name: orders", f'name: "{name}"'.replace("\\", "\\\\").replace("\t", "\\t"))
    assert {field for _, field, _, _ in problems_of(text)} == {"exports[0].name"}


@pytest.mark.parametrize(
    ("section", "field", "message", "hint"),
    [
        ("{type: damaged}", "type", "cannot load 'rivet_acme:missing'", "install it again"),
        ("{type: misspecified, bucket: b}", "type", "has no field folder", "author"),
        ("{bucket: b}", "type", "is required", "bucket, cloud"),
        ("nowhere", "", "must be a mapping", ""),
        ("{type: s3}", "type", "no installed plugin provides destination type 's3'", "pip install rivet-s3"),
        ("{type: bucket, bucket: b, prefix: /x}", "prefix", "must not start with a slash", "leave the slash out"),
        ("{type: bucket, bucket: b, auth: {resolver: vault}}", "auth", "unknown field", "account_name"),
        ("{type: bucket, bucket: yes}", "bucket", "YAML reads a value of type bool here", "put it in quotes"),
        ("{type: bucket, bucket: 12}", "bucket", "YAML reads a value of type int here", "put it in quotes"),
        ("{type: bucket, bucket: b, prefix: {date}}", "prefix", "not a mapping", "put a text that starts with { in"),
        ("{type: bucket, bucket: b, prefix: '{run}'}", "prefix", "unknown placeholder {run}", '"run_id"'),
        ("{type: bucket, bucket: b, prefix: '{date:%Y}'}", "prefix", "takes no format", "{date}"),
        ("{type: bucket, bucket: b, prefix: 'a}b'}", "prefix", "belongs to no placeholder", "}}"),
    ],
)
def test_one_wrong_destination(problems_of, section, field, message, hint):
    text = MINIMAL.replace("{type: local, path: out}", section)
    ((line, name, said, advice),) = problems_of(text)
    assert (line, name) == (5, ".".join(filter(None, ("exports[0].destination", field))))
    assert message in said
    assert hint in advice


@pytest.mark.parametrize(
    ("section", "field", "message"),
    [
        ("{type: postgres, dialect: mysql}", "source.dialect", "follows from type: postgres"),
        ("{type: postgres, hots: db}", "source.hots", "unknown field"),
        ("{type: postgres, tls: {mod: disable}}", "source.tls.mod", "unknown field"),
        ("{type: postgres, tls: {mode: maybe}}", "source.tls.mode", "must be 'require' or 'disable'"),
        ("{type: postgres, port: http}", "source.port", "must be a valid integer"),
        ("{type: postgres, host: refused}", "source", "a remote database needs TLS"),
        ("{type: postgres, host: boom, password: hunter22}", "source", "the plugin failed"),
    ],
)
def test_one_wrong_source(problems_of, section, field, message):
    text = MINIMAL.replace("{type: postgres, url: postgresql://reader@db/shop}", section)
    ((line, name, said, hint),) = problems_of(text)
    assert (line, name) == (1, field)
    assert message in said
    assert "hunter22" not in said + hint


def test_the_sections_that_must_be_there(problems_of):
    assert [(line, field, message) for line, field, message, _ in problems_of("memory_budget: 1GB\n")] == [
        (1, "source", "is required"),
        (1, "exports", "is required"),
    ]
    ((_, field, message, _),) = problems_of("source: {type: postgres}\nexports: []\n")
    assert (field, message) == ("exports", "must have at least 1 item")


def test_an_export_needs_exactly_one_thing_to_export(problems_of):
    ((line, field, message, hint),) = problems_of(MINIMAL + "    query_file: orders.sql\n")
    assert (line, field, message) == (3, "exports[0]", "has table and query_file")
    assert "exactly one" in hint


class TestQueryFile:
    TEXT = MINIMAL.replace("table: public.orders", "query_file: sql/orders.sql")

    def test_is_read_beside_the_configuration_and_not_interpolated(self, load_text, tmp_path, monkeypatch):
        (tmp_path / "sql").mkdir()
        (tmp_path / "sql/orders.sql").write_text("\ufeffselect '€' where d > ${since}\n", encoding="utf-8")
        monkeypatch.chdir("/")
        assert load_text(self.TEXT, {"since": "wrong"}).exports[0].query == "select '€' where d > ${since}\n"

    def test_absent(self, problems_of):
        ((line, field, message, _),) = problems_of(self.TEXT)
        assert (line, field) == (4, "exports[0].query_file")
        assert "there is no file" in message

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"select '\xff'", "not UTF-8 on line 1"), (b" \n", "is empty"), (b"-" * 1_000_001, "larger than 1 MB")],
    )
    def test_unusable(self, problems_of, tmp_path, content, message):
        (tmp_path / "sql").mkdir()
        (tmp_path / "sql/orders.sql").write_bytes(content)
        ((_, field, said, _),) = problems_of(self.TEXT)
        assert field == "exports[0].query_file"
        assert message in said

    def test_a_directory(self, problems_of, tmp_path):
        (tmp_path / "sql/orders.sql").mkdir(parents=True)
        ((_, _, message, _),) = problems_of(self.TEXT)
        assert "cannot read" in message


class TestStateUrl:
    def test_relative_sqlite_files_start_at_the_configuration(self, load_text, tmp_path):
        assert load_text(MINIMAL + "state: {url: sqlite:///state/r.db}\n").state_url.reveal() == (
            f"sqlite:///{tmp_path}/state/r.db"
        )
        assert load_text(MINIMAL + "state: {url: sqlite:////var/r.db}\n").state_url.reveal() == "sqlite:////var/r.db"

    def test_the_environment_counts_only_when_the_file_is_silent(self, load_text):
        environ = {"RIVET_STATE_URL": "postgresql://u:pw@host/state"}
        assert load_text(MINIMAL, environ).state_url.reveal() == "postgresql://u:pw@host/state"
        assert load_text(MINIMAL + "state: {url: sqlite:////r.db}\n", environ).state_url.reveal() == "sqlite:////r.db"

    @pytest.mark.parametrize("url", ["host/db with pw5ecret", "sqlite://", "sqlite:///:memory:"])
    def test_refused(self, problems_of, url):
        ((line, field, message, hint),) = problems_of(MINIMAL + f'state: {{url: "{url}"}}\n')
        assert (line, field) == (6, "state.url")
        assert "pw5ecret" not in message + hint
        ((_, _, message, hint),) = problems_of(MINIMAL, {"RIVET_STATE_URL": url})
        assert message.startswith("RIVET_STATE_URL")
        assert "pw5ecret" not in message + hint


class TestSelect:
    TEXT = MINIMAL + "  - {name: customers, table: c, destination: {type: local, path: c}}\n"

    def test_the_order_is_the_file_s(self, load_text):
        config = load_text(self.TEXT)
        assert [export.name for export in config.select([])] == ["orders", "customers"]
        assert [export.name for export in config.select(["customers", "orders", "orders"])] == ["orders", "customers"]
        assert [export.name for export in config.select(["customers"])] == ["customers"]

    def test_an_unknown_name_gets_a_suggestion(self, load_text):
        with pytest.raises(UsageError, match='no export "order"') as caught:
            load_text(self.TEXT).select(["customers", "order"])
        assert caught.value.hint == 'did you mean "orders"? exports: orders, customers'


class TestPrefixes:
    def load(self, load_text, *destinations):
        exports = "".join(
            f"  - {{name: {name}, table: {table}, destination: {destination}}}\n"
            for name, table, destination in destinations
        )
        return load_text("source: {type: postgres}\nexports:\n" + exports)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("out", "./out/"),
            ("out", "out/inner"),
            ("out/inner/x", "out"),
            ("out/{date}/a", "out/{date}/{export}/"),
            ("out/{date}", "out/2026-11-22"),
            ("out/{table}", "out/t"),
            ("out", "out/{run_id}"),
        ],
    )
    def test_the_same_or_nested_are_refused(self, load_text, one, other):
        with pytest.raises(ConfigProblems, match="take the other's files for strays") as caught:
            self.load(
                load_text,
                ("b", "t", f"{{type: local, path: '{one}'}}"),
                ("a", "t", f"{{type: local, path: '{other}'}}"),
            )
        assert [(item.line, item.field) for item in caught.value.problems] == [(4, "exports[1].destination.path")]

    def test_an_absolute_path_is_the_same_as_a_relative_one(self, load_text, tmp_path):
        with pytest.raises(ConfigProblems, match="strays"):
            self.load(
                load_text, ("a", "t", "{type: local, path: out}"), ("b", "t", f"{{type: local, path: {tmp_path}/out}}")
            )

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("{type: local, path: orders}", "{type: local, path: orders_archive}"),
            ("{type: local, path: 'x/{export}'}", "{type: local, path: 'x/{export}'}"),
            ("{type: local, path: 'x/{run_id}'}", "{type: local, path: 'x/{run_id}'}"),
            ("{type: bucket, bucket: a, prefix: x}", "{type: bucket, bucket: b, prefix: x}"),
            ("{type: bucket, bucket: a, prefix: x}", "{type: bucket, bucket: a, prefix: x, account_name: y}"),
            ("{type: local, path: x}", "{type: bucket, bucket: a, prefix: x}"),
            ("{type: pipe}", "{type: pipe}"),
        ],
    )
    def test_different_ones_are_fine(self, load_text, one, other):
        assert len(self.load(load_text, ("a", "t", one), ("b", "t", other)).exports) == 2

    def test_a_table_name_that_adds_a_segment_is_refused_where_it_is_used(self, load_text):
        with pytest.raises(ConfigProblems, match="cannot be one segment of a path"):
            self.load(load_text, ("a", "x/y", "{type: local, path: 'out/{table}'}"))
        assert self.load(load_text, ("a", "x/y", "{type: local, path: 'out/{export}'}")).exports

    def test_the_destination_at_a_resolved_prefix(self, load_text):
        (export,) = self.load(
            load_text, ("a", "s.t", "{type: bucket, bucket: b, prefix: 'x/{date}/{table}/{run_id}'}")
        ).exports
        template = export.destination.template
        values = export.placeholders(date(2026, 11, 22), "a_1")
        there = export.destination.with_prefix(resolve(template, values))
        assert there.model.prefix == there.template == "x/2026-11-22/t/a_1"
        assert there.model.bucket == "b"
        assert export.destination.template == template

    def test_the_plugin_s_model_checks_a_prefix_from_the_command_line(self, load_text):
        (export,) = self.load(load_text, ("a", "t", "{type: bucket, bucket: b}")).exports
        with pytest.raises(ConfigError, match="must not start with a slash"):
            export.destination.with_prefix("/x")

    def test_a_stream_has_no_prefix(self, load_text):
        (export,) = self.load(load_text, ("a", "t", "{type: pipe}")).exports
        assert export.destination.template == ""
        with pytest.raises(ConfigError, match="has no prefix"):
            export.destination.with_prefix("x")


class TestSecrets:
    @pytest.mark.parametrize(
        "section",
        [
            "{type: postgres, url: 'postgresql://u:c4n4ry!pw@db/gobbledygook'}",
            "{type: postgres, url: 'postgresql://u:c4n4ry!pw@p/art@db/gobbledygook'}",
            "{type: postgres, url: 'postgresql://db/gobbledygook?password=c4n4ry!pw'}",
            "{type: postgres, url: 'gobbledygook c4n4ry!pw'}",
            "{type: postgres, url: '${URL}'}",
        ],
    )
    def test_no_message_shows_a_password(self, load_text, section):
        environ = {"URL": "postgresql://u:c4n4ry%21pw@db/gobbledygook"}
        with pytest.raises(ConfigProblems) as caught:
            load_text(MINIMAL.replace("{type: postgres, url: postgresql://reader@db/shop}", section), environ)
        shown = f"{caught.value} {caught.value.hint} {caught.value!r} {caught.value.problems}"
        assert "cannot understand" in shown
        assert "c4n4ry" not in shown

    def test_no_repr_shows_a_password(self, load_text):
        text = MINIMAL.replace("reader@", "reader:sup3rs3cret@").replace(
            "table: public.orders", "query: select 'q4242'"
        )
        config = load_text(text + "state: {url: 'postgresql://u:st4tepw@h/d'}\n")
        assert "sup3rs3cret" in config.source.model.url
        for secret in ("sup3rs3cret", "st4tepw", "q4242"):
            assert secret not in repr(config)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "the file is empty"),
        (b"# nothing but a comment\n", None, "the file is empty"),
        (b"- a\n", 1, "is no mapping"),
        (b"just text\n", 1, "is no mapping"),
        (b"source:\n\ttype: x\n", 2, "'\\t'"),
        (b"a: [1\nb: 2\n", 2, "no valid YAML"),
        (b"a: 1\n---\nb: 2\n", 2, "more than one YAML document"),
        (b"a: *s3cr3t\n", 1, "an alias (*name) without its anchor"),
        (b"a: !s3cr3t x\n", 1, "YAML tags"),
        (b"a: !!python/object/apply:os.system [ls]\n", 1, "YAML tags"),
        (b"a: 1\nb: \xff\n", None, "not UTF-8 on line 2"),
        (b"a: 1\nb: \x07\n", 2, "a control character"),
        (b"#" * 1_000_001, None, "larger than 1 MB"),
        (b"a: " + b"[" * 5000, None, "nested too deeply"),
        (b"path: {date}/x\n", 1, "no valid YAML"),
    ],
)
def test_text_that_is_no_configuration(tmp_path, registry, content, line, message):
    path = tmp_path / "rivet.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigProblems) as caught:
        load(path, registry, {})
    assert any(item.line == line and message in item.message for item in caught.value.problems)
    assert "s3cr3t" not in f"{caught.value}{caught.value.hint}"


def test_there_is_no_file(tmp_path, registry):
    with pytest.raises(ConfigProblems, match="there is no file"):
        load(tmp_path / "rivet.yaml", registry, {})
    with pytest.raises(ConfigProblems, match="cannot read"):
        load(tmp_path, registry, {})


def test_relative_paths_start_at_the_file_not_at_the_current_directory(load_text, tmp_path, registry, monkeypatch):
    load_text(MINIMAL)
    monkeypatch.chdir(tmp_path.parent)
    config = load(Path(tmp_path.name) / "rivet.yaml", registry, {})
    assert config.base_dir == tmp_path
