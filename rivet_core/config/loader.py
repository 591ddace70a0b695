"""From the text of ``rivet.yaml`` to a ``Config``, with every problem reported at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from rivet_core.api import ConfigError, DestinationSpec, FormatSpec, PluginError, RivetError, Secret, SourceSpec
from rivet_core.config.auth import choose_auth, resolver_fields, usable_resolvers
from rivet_core.config.credentials import register_credentials, register_url_credentials
from rivet_core.config.document import MAX_BYTES, Document, read_document
from rivet_core.config.model import (
    Chunking,
    Config,
    DestinationChoice,
    ExportConfig,
    FormatChoice,
    Incremental,
    SourceConfig,
    TimeWindow,
    bare_table_name,
)
from rivet_core.config.placeholders import resolve
from rivet_core.config.prefixes import Target, find_overlaps, sample_placeholders
from rivet_core.config.problems import FieldPath, ProblemCollector
from rivet_core.config.sections import ExportSection, RivetSection
from rivet_core.config.validation import Validator, load_model

if TYPE_CHECKING:
    from rivet_core.plugins import Registry

STATE_VARIABLE: Final = "RIVET_STATE_URL"
_STATE_FILE: Final = ".rivet_state.db"
#: Rows of a chunk where the configuration says nothing.
_CHUNK_ROWS: Final = 500_000
# Two connections keep a server and its client busy; more is for the user to say.
_DEFAULT_PARALLEL: Final = {"full": 2}
_QUERY_FIELDS: Final = ("table", "query", "query_file")
Spec = TypeVar("Spec", DestinationSpec, FormatSpec, SourceSpec)


def load(path: Path, registry: Registry, environ: Mapping[str, str] = os.environ) -> Config:
    """Read, validate and return the configuration.

    Args:
        path: the YAML file.
        registry: the installed plugins, whose models validate their own sections.
        environ: what ``${VAR}`` and ``RIVET_STATE_URL`` are looked up in.

    Raises:
        ConfigProblems: everything that is wrong, each with file, line, field, message and hint.
    """
    problems = ProblemCollector(str(path))
    try:
        text = read_text(path)
    except ConfigError as error:
        problems.add_error(error, position=None, path=())
        raise problems.error() from None
    document = read_document(text, problems, environ=environ, is_verbatim=_is_query)
    register_credentials(document.data)
    loader = _Loader(path, document, problems, registry, environ)
    return loader.config()


def read_text(path: Path) -> str:
    """Return the text of a small UTF-8 file, a byte order mark removed.

    Raises:
        ConfigError: it cannot be read, is too large, or is no UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}", hint="check the path and the current directory") from None
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "no valid path"
        raise ConfigError(f"cannot read {path}: {reason}", hint="check the path and its permissions") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB", hint="is it the right file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} is not UTF-8 on line {line}", hint="save it as UTF-8") from None


class _Choices(NamedTuple):
    """What the plugins made of one export's section, ``None`` where something is wrong with it."""

    query: str | None
    format: FormatChoice | None
    destination: DestinationChoice | None


class _Loader:
    """Validates one document. Methods return ``None`` for what is wrong after recording why."""

    def __init__(
        self,
        path: Path,
        document: Document,
        problems: ProblemCollector,
        registry: Registry,
        environ: Mapping[str, str],
    ) -> None:
        self._path = path
        self._base_dir = path.absolute().parent
        self._document = document
        self._problems = problems
        self._registry = registry
        self._environ = environ
        self._validator = Validator(document, problems)

    def config(self) -> Config:
        """Return the configuration or raise ``ConfigProblems``."""
        root = self._document.data
        if not isinstance(root, dict):
            what = "is empty" if root is None else "is no mapping of fields"
            hint = "it needs at least the fields source and exports"
            self._problems.add(f"the file {what}", position=self._document.position(()), hint=hint)
            raise self._problems.error()
        section = self._validator.validate(RivetSection, root, lambda loc: loc)
        source = self._source(root.get("source"))
        state_url = self._state_url(root.get("state"))
        listed = root.get("exports")
        raw_exports = {
            index: raw for index, raw in enumerate(listed if isinstance(listed, list) else []) if isinstance(raw, dict)
        }
        self._refuse_repeated_names(raw_exports)
        choices = {index: self._choices(("exports", index), raw) for index, raw in raw_exports.items()}
        self._refuse_overlaps(raw_exports, choices)
        if section is not None:
            self._check_budget(section)
        if self._problems or section is None or source is None or state_url is None:
            raise self._problems.error()
        exports = tuple(_export(item, choices[index]) for index, item in enumerate(section.exports))
        return Config(self._path, self._base_dir, source, state_url, section.memory_budget, exports)

    def _source(self, raw: object) -> SourceConfig | None:
        path: FieldPath = ("source",)
        found = self._spec(raw, path, self._registry.source, self._registry.sources)
        if found is None:
            return None
        type_, spec, fields = found
        dialect = self._registry.source_dialect(type_)
        if dialect is not None:
            if "dialect" in fields:
                self._validator.complain((*path, "dialect"), f"follows from type: {type_}", "leave it out")
            fields["dialect"] = dialect
        try:
            model = load_model(self._registry, spec)
        except RivetError as error:
            self._validator.complain_of((*path, "type"), error)
            return None
        validated = self._validator.validate(model, fields, lambda loc: (*path, *loc), ["type"])
        return None if validated is None else SourceConfig(type_, spec, validated)

    def _state_url(self, raw: object) -> Secret | None:
        """Return the URL of the state database; a relative SQLite file starts at the configuration's directory."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        given = raw.get("url") if isinstance(raw, dict) else None
        url, name = (given, "this") if isinstance(given, str) else (self._environ.get(STATE_VARIABLE), STATE_VARIABLE)
        url = url or f"sqlite:///{_STATE_FILE}"
        register_url_credentials(url)
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            hint = "for example sqlite:///state.db or postgresql+psycopg://user:password@host/database"
            self._validator.complain(("state", "url"), f"{name} is no database URL of SQLAlchemy", hint)
            return None
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                self._validator.complain(
                    ("state", "url"), f"{name} names a database in memory, which ends with the process", "name a file"
                )
                return None
            if not parsed.database.startswith("file:"):
                parsed = parsed.set(database=str(self._base_dir / parsed.database))
        return Secret(parsed.render_as_string(hide_password=False))

    def _choices(self, path: FieldPath, raw: Mapping[str, object]) -> _Choices:
        return _Choices(
            self._query(path, raw),
            self._format(path, raw),
            self._destination((*path, "destination"), raw),
        )

    def _query(self, path: FieldPath, raw: Mapping[str, object]) -> str | None:
        """Return the query's text; a table has none."""
        given = [name for name in _QUERY_FIELDS if raw.get(name) is not None]
        if len(given) != 1:
            what = f"has {' and '.join(given)}" if given else "has nothing to export"
            self._validator.complain(path, what, "set exactly one of table, query and query_file")
            return None
        if "query_file" not in given:
            query = raw.get("query")
            return query if isinstance(query, str) else None
        file, place = raw["query_file"], (*path, "query_file")
        if not isinstance(file, str) or self._document.is_unresolved(place):
            return None
        try:
            query = read_text(self._base_dir / file)
        except ConfigError as error:
            self._validator.complain_of(place, error)
            return None
        if not query.strip():
            self._validator.complain(place, f"{file} is empty", "write the query there")
        return query

    def _format(self, path: FieldPath, raw: Mapping[str, object]) -> FormatChoice | None:
        place = (*path, "format")
        given = raw.get("format", ExportSection.model_fields["format"].default)
        found = self._spec(
            {"type": given} if isinstance(given, str) else given, place, self._registry.format, self._registry.formats
        )
        if found is None:
            return None
        _, spec, fields = found
        if raw.get("compression") is not None:
            if "compression" in fields:
                self._validator.complain((*place, "compression"), "is also given beside format", "keep one of the two")
            fields["compression"] = raw["compression"]
        try:
            model = load_model(self._registry, spec)
        except RivetError as error:
            self._validator.complain_of(place, error)
            return None

        def locate(loc: FieldPath) -> FieldPath:
            return (*path, *loc) if loc[:1] == ("compression",) and "compression" in raw else (*place, *loc)

        validated = self._validator.validate(model, fields, locate, ["type"])
        return None if validated is None else FormatChoice(spec, validated)

    def _destination(self, path: FieldPath, raw_export: Mapping[str, object]) -> DestinationChoice | None:
        found = self._spec(raw_export.get("destination"), path, self._registry.destination, self._registry.destinations)
        if found is None:
            return None
        _, spec, fields = found
        try:
            model = load_model(self._registry, spec)
            if spec.kind == "store" and spec.template not in model.model_fields:
                raise PluginError(
                    f"{spec.config!r} has no field {spec.template}", hint="report it to the plugin's author"
                )
        except RivetError as error:
            self._validator.complain_of((*path, "type"), error)
            return None
        resolvers = usable_resolvers(self._registry, spec)
        login = {"auth"}.union(*map(resolver_fields, resolvers)) if resolvers else set()
        own = {name: value for name, value in fields.items() if name in model.model_fields or name not in login}
        auth = None
        try:
            auth = choose_auth(spec, resolvers, fields, model.model_fields)
        except ConfigError as error:
            self._validator.complain_of(path, error)
        validated = self._validator.validate(model, own, lambda loc: (*path, *loc), login | {"type"})
        if validated is None:
            return None
        choice = DestinationChoice(spec, validated, auth, own)
        return choice if self._is_template_valid(path, raw_export, choice) else None

    def _is_template_valid(self, path: FieldPath, raw: Mapping[str, object], choice: DestinationChoice) -> bool:
        name, table = raw.get("name"), raw.get("table")
        if not isinstance(name, str):
            return False
        place = (*path, choice.spec.template)
        if self._document.is_unresolved(place):
            return False
        try:
            resolve(choice.template, sample_placeholders(name, _table_value(name, table)))
        except ConfigError as error:
            self._validator.complain_of(place, error)
            return False
        return True

    def _spec(
        self,
        raw: object,
        path: FieldPath,
        find: Callable[[str], Spec],
        installed: Mapping[str, Spec],
    ) -> tuple[str, Spec, dict[str, object]] | None:
        """Return the type of a plugin's section, the plugin's spec and the other fields."""
        if not isinstance(raw, dict):
            return None  # the core's own model says that it must be a mapping
        type_, place = raw.get("type"), (*path, "type")
        if not isinstance(type_, str):
            self._validator.complain(place, "is required", f"installed: {', '.join(sorted(installed))}")
            return None
        if self._document.is_unresolved(place):
            return None
        try:
            spec = find(type_)
        except PluginError as error:
            self._validator.complain_of(place if place in self._document.positions else path, error)
            return None
        return type_, spec, {name: value for name, value in raw.items() if name != "type"}

    def _refuse_repeated_names(self, exports: Mapping[int, Mapping[str, object]]) -> None:
        seen: dict[object, FieldPath] = {}
        for index, raw in exports.items():
            place: FieldPath = ("exports", index, "name")
            name = raw.get("name")
            if not isinstance(name, str):
                continue
            if name in seen:
                first = self._document.position(seen[name])
                line = f" on line {first.line}" if first else ""
                self._validator.complain(place, f'"{name}" is the name of the export{line}, too', "choose another name")
            seen.setdefault(name, place)

    def _refuse_overlaps(self, exports: Mapping[int, Mapping[str, object]], choices: Mapping[int, _Choices]) -> None:
        indexes, targets = [], []
        for index, choice in choices.items():
            if choice.destination is not None:
                name = str(exports[index]["name"])
                values = sample_placeholders(name, _table_value(name, exports[index].get("table")))
                indexes.append(index)
                targets.append(Target(choice.destination, values))
        for overlap in find_overlaps(targets, self._base_dir):
            first, second = targets[overlap.first], targets[overlap.second]
            place = ("exports", indexes[overlap.second], "destination", second.destination.spec.template)
            templates = f'"{second.destination.template}" and "{first.destination.template}" of the export'
            self._validator.complain(
                place,
                f'{templates} "{first.values.export}" can be one prefix, or one inside the other; each export would '
                "take the other's files for strays in its own dataset",
                "give each export a prefix of its own, for example with {export}",
            )

    def _check_budget(self, section: RivetSection) -> None:
        for index, export in enumerate(section.exports):
            if export.types.max_value_bytes >= section.memory_budget:
                self._validator.complain(
                    ("exports", index, "types", "max_value_bytes"),
                    "a value of that size does not fit into memory_budget",
                    "raise memory_budget, too",
                )


def _is_query(path: FieldPath) -> bool:
    """Whether ``${name}`` at this path is a bind of a query."""
    return len(path) == 3 and path[0] == "exports" and path[2] == "query"


def _table_value(name: str, table: object) -> str:
    """Return what ``{table}`` stands for."""
    return bare_table_name(table if isinstance(table, str) else None) or name


def _chunking(section: ExportSection) -> Chunking:
    size, count, days = section.chunk_size, section.chunk_count, section.chunk_by_days
    if size is None and count is None and days is None:
        size = _CHUNK_ROWS
    columns = tuple(section.chunk_column or ())
    return Chunking(columns, size, count, days, section.consistency == "snapshot")


def _incremental(section: ExportSection) -> Incremental | None:
    if section.mode != "incremental" or section.cursor_column is None:
        return None
    return Incremental(
        section.cursor_column,
        section.cursor_fallback_column,
        tuple(section.key or ()),
        section.lag,
        section.empty_increment == "publish",
    )


def _time_window(section: ExportSection) -> TimeWindow | None:
    if section.mode != "time_window" or section.time_column is None or section.window_days is None:
        return None
    return TimeWindow(section.time_column, section.window_days, section.time_unit)


def _export(section: ExportSection, choices: _Choices) -> ExportConfig:
    """Return one export of which nothing is wrong."""
    if choices.format is None or choices.destination is None:
        raise AssertionError("a problem without a message")
    from rivet_core.contract.types import parse_type

    return ExportConfig(
        name=section.name,
        table=section.table,
        query=choices.query,
        mode=section.mode,
        parallel=section.parallel or _DEFAULT_PARALLEL.get(section.mode, 1),
        chunking=_chunking(section) if section.mode == "chunked" else None,
        incremental=_incremental(section),
        time_window=_time_window(section),
        format=choices.format,
        max_file_size=section.max_file_size,
        empty=section.empty,
        columns={name: parse_type(text) for name, text in section.columns.items()},
        types=section.types,
        quality=section.quality,
        on_schema_drift=section.on_schema_drift,
        exported_at=section.meta_columns.exported_at,
        superseded=section.superseded,
        destination=choices.destination,
    )
