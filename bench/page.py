"""The page of the documentation that shows the newest result of each case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.report import chart, goals_table, markdown
from bench.result import Result


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        text: what it is about.
        cases: the cases that it shows, those that have a result.
        charts: whether it shows their charts, too.
    """

    title: str
    text: str
    cases: tuple[str, ...]
    charts: bool = True


SECTIONS = (
    Section(
        "TPC-H lineitem from PostgreSQL",
        "The table `lineitem` of TPC-H at scale factor 1, with a key `id` before its 16 columns: 6,001,215 rows of\n"
        "integers, decimals, dates and short texts, to local Parquet.",
        ("peers-postgres",),
    ),
    Section(
        "A wide table from PostgreSQL",
        "One million rows of 20 columns of as many types: UUID, JSON and JSONB, numerics, timestamps with and without\n"
        "a zone, texts, bytes, floats, smallint, boolean, with NULLs.",
        ("peers-postgres-wide",),
    ),
    Section("TPC-H lineitem from MariaDB", "The same rows as from PostgreSQL.", ("peers-mariadb",)),
    Section(
        "A wide table from MariaDB",
        "The same rows as from PostgreSQL, in MariaDB's types: `UUID`, `JSON`, `TIMESTAMP(6)`, `VARBINARY`, `FLOAT`.",
        ("peers-mariadb-wide",),
    ),
    Section(
        "Who spends the CPU",
        "Rivet's own export of lineitem, stage by stage.",
        ("profile-postgres", "profile-mariadb"),
    ),
    Section("Growth", "How time and memory grow with rows, columns and the size of values.", ("scaling",)),
    Section(
        "The built-in source",
        "Every other database is read through SQLAlchemy. Beside it runs the loop that one would write.",
        ("throughput-loop-sqlite", "throughput-loop-postgres", "throughput-loop-mariadb", "throughput-sqlite"),
    ),
    Section(
        "What the contract costs",
        "Chunks, a resume, object stores, memory and start-up.",
        ("chunks", "resume", "stores", "memory", "memory-stores", "startup"),
        charts=False,
    ),
)

_HEAD = """# Benchmarks

<!-- Written by scripts/generate_benchmarks.py from bench/results; changes here are lost. -->

Every number on this page comes from `make bench` on one machine. Commands run in turn, never two at once, in rounds
that each begin with another one, after a round that does not count; the tables show medians. A peer that needs more
than 45 s runs once. Compare the ratios of one table, not the seconds of two.

Every Rivet export keeps its full contract: it hashes what it writes, writes manifest and marker, keeps its state and
syncs to disk. Peers write files. Each peer has the best configuration that we know for it, two streams where it can,
and zstd at level 1 where it can be told; "how" says what it is. After its first run every value that it wrote is
compared with the generated ones, and each column's Parquet type with the database's: "types and values" says what
became of them. Client CPU and peak memory are those of the command with all its processes; the longest statement is
what was seen of it in the server, looked at twenty times a second.

## Goals

"""

_REPEAT = """## Repeat it

<!-- not run: takes hours -->
```bash
make bench                                      # every case
make bench ARGS="peers-postgres --rounds 3"     # one
make bench ARGS="--quick"                       # whether everything works
```

It needs Debian or Ubuntu, or PostgreSQL, MariaDB and the ODBC drivers installed otherwise. Each peer is installed into
an environment of its own with the versions in `bench/peers`; servers are private and end with the benchmark. Results go
to `bench/results`: every round's numbers as JSON, the table as Markdown, the chart as SVG. `bench/README.md` has the
cases and what each number means. `python scripts/generate_benchmarks.py` writes this page anew from them.
"""


def page(results: Mapping[str, Result]) -> str:
    """Return the page; ``results`` has the newest result of each case by its name."""
    shown = [results[case] for section in SECTIONS for case in section.cases if case in results]
    parts = [_HEAD + goals_table(result for result in shown if result["goals"])]
    for section in SECTIONS:
        found = [results[case] for case in section.cases if case in results]
        if found:
            parts.append(f"## {section.title}\n\n{section.text}")
            parts += [_shown(result, section) for result in found]
    return "\n\n".join([*parts, _REPEAT])


def charts(results: Mapping[str, Result]) -> dict[str, str]:
    """Return the pictures that the page shows, by the name of their case."""
    cases = [case for section in SECTIONS if section.charts for case in section.cases if case in results]
    return {case: chart(results[case]) for case in cases}


def _shown(result: Result, section: Section) -> str:
    case = result["case"]
    parts = [f"### {case}"] if len(section.cases) > 1 else []
    rows = f"{result['rows']:,} rows; " if result["rows"] else ""
    rounds = max((len(samples) for samples in result["samples"].values()), default=0)
    parts.append(f"`{case}`, {result['at'][:10]}: {rows}{rounds} rounds; {_described(result)}.")
    if section.charts:
        parts.append(f"![Wall times of {case}](benchmarks/{case}.svg)")
    return "\n\n".join([*parts, markdown(result, goals=False).strip()])


def _described(result: Result) -> str:
    machine = result["machine"]
    processor = machine.get("processor") or machine["architecture"]
    memory = f", {machine['memory_gib']} GiB" if "memory_gib" in machine else ""
    server = f"{result['server']}, " if result.get("server") else ""
    versions = f"{server}Python {machine['python']}, pyarrow {machine['pyarrow']}"
    return f"{machine['cpus']} cores of {processor}{memory}, {machine['system']}; {versions}"
