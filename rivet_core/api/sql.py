"""Reads SQL that a user wrote just closely enough to find its binds and its end; everything else passes verbatim.

``${name}`` is a bind where the engine would see SQL, not inside quotes, dollar quotes or comments. The rules of each
engine are those of its lexer: PostgreSQL manual 4.1 (nested comments, ``E''`` strings, dollar quotes), MySQL manual
9.1 and 9.7 (backslash escapes, ``#`` and ``-- `` comments, ``/*! … */`` that is code), SQLite "SQL As Understood"
(``[]`` and backtick identifiers). Dialects go by SQLAlchemy's names or by the source's type; an unknown one follows
the standard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

from rivet_core.api.errors import QueryError
from rivet_core.api.source import Query

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Dialect

    from rivet_core.api.source import TableName

__all__ = [
    "arguments",
    "compares_rows",
    "find_binds",
    "find_heirs",
    "has_limit",
    "is_null",
    "quote_name",
    "render",
    "single_statement",
    "sorts_as_it_compares",
    "wrap",
]

_Kind = Literal["code", "opaque", "comment", "bind", "end"]

_BIND: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DOLLAR_QUOTE: Final = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_ESCAPED: Final = {
    quote: re.compile(rf"(?:[^{quote}\\]|\\.|{quote}{quote})*+{quote}", re.DOTALL) for quote in ("'", '"')
}


@dataclass(frozen=True)
class _Rules:
    """How one dialect writes what must not be read as SQL."""

    backslash: bool = False  # in '' and ""
    backtick: bool = False
    brackets: bool = False
    dollar: bool = False
    e_strings: bool = False
    nested_comments: bool = False
    mysql_comments: bool = False


_STANDARD: Final = _Rules()
_POSTGRES: Final = _Rules(dollar=True, e_strings=True, nested_comments=True)
_MYSQL: Final = _Rules(backslash=True, backtick=True, mysql_comments=True)
_RULES: Final = {
    "sqlite": _Rules(backtick=True, brackets=True),
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "mssql": _Rules(brackets=True, nested_comments=True),
}
_COMPARING_ROWS: Final = frozenset({"postgresql", "sqlite"})
# The chunks of TimescaleDB's tables have keys of their own, no two of them the same.
_HEIRS: Final = """
SELECT 1 FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relkind <> 'p'
JOIN pg_catalog.pg_class h ON h.oid = i.inhrelid
JOIN pg_catalog.pg_namespace n ON n.oid = h.relnamespace AND n.nspname <> '_timescaledb_internal'
WHERE p.oid = pg_catalog.to_regclass(${rivet_table}) LIMIT 1
"""
_MYSQLS: Final = frozenset({"mysql", "mariadb"})
_SORTED_OTHERWISE: Final = re.compile(r"(?:enum|set|json|bit)\b")


@cache
def _openers(rules: _Rules) -> re.Pattern[str]:
    """Compile what may begin something else than plain SQL."""
    starts = [r"'", r'"', r"\$\{", r"/\*", ";"]
    if rules.backtick:
        starts.append("`")
    if rules.brackets:
        starts.append(r"\[")
    if rules.e_strings:
        starts.insert(0, r"(?<![\w$])[eE]'")
    if rules.dollar:
        starts.append(rf"(?<![\w$]){_DOLLAR_QUOTE.pattern}")
    starts.append(r"\#|--(?=[\x00-\x20]|\Z)" if rules.mysql_comments else "--")
    return re.compile("|".join(starts))


def _end_of(text: str, closer: str, start: int) -> int:
    """Return the position after the next ``closer``, or the end of an unclosed text."""
    found = text.find(closer, start)
    return len(text) if found < 0 else found + len(closer)


def _close_escaped(text: str, start: int, quote: str) -> int:
    """Return the end of a string with backslash escapes whose first character is at ``start``."""
    found = _ESCAPED[quote].match(text, start)
    return found.end() if found else len(text)


def _close_bind(text: str, start: int) -> int:
    bind = _BIND.match(text, start)
    if bind is None:
        raise QueryError(
            f"character {start + 1} of the query opens a parameter with ${{ that has no valid name",
            hint="write ${name} with letters, digits and underscores, or put the text in quotes",
        )
    return bind.end()


def _close_comment(text: str, start: int, *, nested: bool) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, start):
        if edge.group() == "*/":
            depth -= 1
        elif nested:
            depth += 1
        if depth == 0:
            return edge.end()
    return len(text)


def _token(text: str, found: re.Match[str], rules: _Rules) -> tuple[_Kind, int]:
    """Return the kind and the end of the token that ``found`` opens."""
    opener, start, inside = found.group(), found.start(), found.end()
    kind: _Kind = "opaque"
    if opener == ";":
        kind, end = "end", inside
    elif opener == "${":
        kind, end = "bind", _close_bind(text, start)
    elif opener == "/*" and rules.mysql_comments and text.startswith(("!", "M!"), inside):
        kind, end = "code", inside
    elif opener == "/*":
        kind, end = "comment", _close_comment(text, inside, nested=rules.nested_comments)
    elif opener in {"--", "#"}:
        kind, end = "comment", _end_of(text, "\n", inside)
    elif opener[0] == "$":
        end = _end_of(text, opener, inside)
    elif opener == "[":
        end = _end_of(text, "]", inside)
    elif len(opener) == 2 or (rules.backslash and opener != "`"):
        end = _close_escaped(text, inside, opener[-1])
    else:
        # A doubled quote closes here and opens again at once, which comes to the same.
        end = _end_of(text, opener, inside)
    return kind, end


def _tokens(text: str, dialect: str) -> Iterator[tuple[_Kind, str]]:
    """Yield the pieces of ``text`` in order; joined they are ``text``."""
    rules = _RULES.get(dialect, _STANDARD)
    openers = _openers(rules)
    position = 0
    while found := openers.search(text, position):
        if found.start() > position:
            yield "code", text[position : found.start()]
        kind, end = _token(text, found, rules)
        yield kind, text[found.start() : end]
        position = end
    if position < len(text):
        yield "code", text[position:]


def find_binds(text: str, dialect: str) -> tuple[str, ...]:
    """Return the names of the binds in order of their first appearance, each once.

    >>> find_binds("SELECT ${a}, '${b}' -- ${c}", "sqlite")
    ('a',)

    Raises:
        QueryError: ``${`` without a valid name and a closing brace.
    """
    return tuple(dict.fromkeys(piece[2:-1] for kind, piece in _tokens(text, dialect) if kind == "bind"))


def single_statement(text: str, dialect: str) -> str:
    """Return the one statement of ``text`` without a trailing semicolon and what follows it.

    >>> single_statement("SELECT ';' ; -- done", "sqlite")
    "SELECT ';'"

    Raises:
        QueryError: there are two statements, or none.
    """
    statement: list[str] = []
    ended = has_code = False
    for kind, piece in _tokens(text, dialect):
        blank = kind == "comment" or (kind == "code" and not piece.strip())
        if kind == "end":
            ended = True
        elif not ended:
            has_code = has_code or not blank
            statement.append(piece)
        elif not blank:
            raise QueryError(
                "the query has more than one statement",
                hint="keep one SELECT; a semicolon may only end it",
            )
    if not has_code:
        raise QueryError("the query is empty", hint="write one SELECT statement")
    return "".join(statement).strip()


def wrap(text: str, before: str, after: str) -> str:
    """Return the statement between ``before`` and ``after``, on lines of its own.

    A comment at its end then swallows nothing.

    >>> wrap("SELECT 1 -- one", "SELECT COUNT(*) FROM (", ") AS rivet_query")
    'SELECT COUNT(*) FROM (\\nSELECT 1 -- one\\n) AS rivet_query'
    """
    return "\n".join((before.rstrip("\n"), text, after.lstrip("\n")))


def quote_name(dialect: Dialect, name: str) -> str:
    """Return a name for SQL text that goes through ``render``, quoted where the dialect wants it.

    SQLAlchemy's own quoting doubles ``%`` for drivers that format the text; that is left to ``render`` here, which
    knows whether this one will.
    """
    preparer = dialect.identifier_preparer
    quoted = preparer.quote(name)
    return quoted.replace("%%", "%") if "%%" in preparer.quote_identifier("%") else quoted


def has_limit(dialect: Dialect) -> bool:
    """Whether a query of the dialect may end with ``LIMIT n OFFSET m``."""
    from sqlalchemy import literal_column, select

    one: ColumnElement[int] = literal_column("1")
    return "LIMIT" in str(select(one).order_by(one).limit(1).offset(1).compile(dialect=dialect))


def compares_rows(dialect: Dialect) -> bool:
    """Whether an index is searched for ``(a, b) > (1, 2)``; others may read all of it, or not know the form at all."""
    return dialect.name in _COMPARING_ROWS


def is_null(dialect: Dialect, quoted: str) -> str:
    """Return the condition that a column has no value.

    To MySQL and MariaDB ``IS NULL`` of a date that is NOT NULL also means ``0000-00-00``; of an expression it does not.
    """
    condition = f"{quoted} IS NULL"
    return f"{condition} AND COALESCE({quoted}, NULL) IS NULL" if dialect.name in _MYSQLS else condition


def find_heirs(dialect: Dialect, table: TableName) -> Query | None:
    """Return a query with a row if other tables inherit from this one; ``None`` for a database where none can.

    Partitions are none: the keys of PostgreSQL's partitioned tables hold for all of them.
    """
    if dialect.name != "postgresql":
        return None
    name = ".".join(quote_name(dialect, part) for part in (table.schema, table.table) if part)
    return Query(_HEIRS, {"rivet_table": name})


def sorts_as_it_compares(dialect: Dialect, source_type: str) -> bool:
    """Whether values of a type, read and bound again, compare with others as the database sorts them.

    MySQL and MariaDB sort ENUM and SET by the number of a value and compare them with text as text; to MySQL a bound
    text is no JSON but a string in it; and to MariaDB the bytes of a BIT are a text, in which it looks for a number.
    """
    return dialect.name not in _MYSQLS or _SORTED_OTHERWISE.match(source_type) is None


def render(text: str, dialect: str, paramstyle: str) -> tuple[str, tuple[str, ...]]:
    """Replace every bind by the driver's placeholder.

    ``%`` is doubled where the driver will format the text: only with binds, and only for the two ``%`` styles. Without
    binds the text comes back unchanged and the driver must be given no parameters at all.

    >>> render("SELECT '%' WHERE x = ${a} AND y = ${a}", "postgresql", "pyformat")
    ("SELECT '%%' WHERE x = %(a)s AND y = %(a)s", ('a',))
    >>> render("SELECT '%' WHERE x = ${a} AND y = ${a}", "sqlite", "qmark")
    ("SELECT '%' WHERE x = ? AND y = ?", ('a', 'a'))

    Args:
        paramstyle: of the driver (PEP 249), or ``numeric_dollar`` (``$1``).

    Returns:
        The text, and the names: one per placeholder for positional styles, each once for the others.
    """
    names = find_binds(text, dialect)
    if not names:
        return text, ()
    percent = paramstyle in {"format", "pyformat"}
    order: list[str] = []
    pieces: list[str] = []
    for kind, piece in _tokens(text, dialect):
        if kind == "bind":
            order.append(piece[2:-1])
            pieces.append(_placeholder(order[-1], names, paramstyle))
        else:
            pieces.append(piece.replace("%", "%%") if percent else piece)
    return "".join(pieces), tuple(order) if paramstyle in {"qmark", "format"} else names


def _placeholder(name: str, names: tuple[str, ...], paramstyle: str) -> str:
    match paramstyle:
        case "qmark":
            return "?"
        case "format":
            return "%s"
        case "pyformat":
            return f"%({name})s"
        case "named":
            return f":{name}"
        case "numeric":
            return f":{names.index(name) + 1}"
        case "numeric_dollar":
            return f"${names.index(name) + 1}"
        case _:
            raise ValueError(f"unknown paramstyle {paramstyle!r}")


def arguments(
    names: Sequence[str], params: Mapping[str, object], paramstyle: str
) -> tuple[object, ...] | dict[str, object] | None:
    """Return what the driver's ``execute`` takes beside the text of ``render``; ``None`` without binds.

    Raises:
        QueryError: a bind has no value; names all that have none.
    """
    missing = sorted(set(names) - set(params))
    if missing:
        raise QueryError(
            f"the query's parameter {', '.join(missing)} has no value",
            hint=" ".join(f"--param {name}=VALUE" for name in missing),
        )
    if not names:
        return None
    if paramstyle in {"pyformat", "named"}:
        return {name: params[name] for name in names}
    return tuple(params[name] for name in names)
