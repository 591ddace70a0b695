"""What a case of the benchmark is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Contender, Quantity
from bench.verdict import Verdict


@dataclass(frozen=True)
class Goal:
    """A bound on the median of one contender.

    Attributes:
        contender: whose median it is about.
        quantity: the field of ``Sample``.
        limit: in units of the field, or of the baseline's median if there is a baseline.
        baseline: the contender to compare with.
    """

    contender: str
    quantity: Quantity
    limit: float
    baseline: str | None = None


@dataclass(frozen=True)
class Series:
    """Contenders that export more and more of something.

    Attributes:
        what: what grows.
        points: how much of it, and by which contender, from the least to the most.
        nothing: the contender that exports nothing.
    """

    what: str
    points: tuple[tuple[float, str], ...]
    nothing: str


@dataclass(frozen=True)
class Case:
    """Contenders of one comparison, its goals, and lines about the peers that are missing.

    Attributes:
        contenders: what runs in turn.
        goals: what their medians are held to.
        skipped: why somebody does not take part, a line each.
        rows: rows of the exported table, or none.
        server: the database's name and version, or none.
        reference: the contender that the others' medians are divided by, or none.
        notes: how a contender is configured, and its versions, by name.
        stages: what is reported as differences: a label and a contender each, a contender doing what those before it
            do and more.
        verdicts: filled while the case runs: what a contender's output is worth, by name.
        series: contenders that are reported as growth and not side by side.
    """

    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()
    skipped: tuple[str, ...] = ()
    rows: int | None = None
    server: str | None = None
    reference: str | None = None
    notes: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    series: tuple[Series, ...] = ()
    stages: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Setting:
    """Where a case works.

    Attributes:
        work: an empty directory.
        cache: a directory that stays, for generated data.
        rows: rows of the exported table; each case has a default of its own.
        only: the contenders that take part, or none for all of them.
    """

    work: Path
    cache: Path
    rows: int | None = None
    only: frozenset[str] = frozenset()

    def rows_or(self, default: int) -> int:
        """Return how many rows the exported table has."""
        return self.rows or default
