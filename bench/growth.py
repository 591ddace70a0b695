"""How a case with series is reported: each size beside a straight line, as a table and as charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from bench.chart import WIDTH, svg
from bench.result import Result

_HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 210, 52, 56, 34, 64
_PANEL = (WIDTH - 2 * _LEFT - _GAP) // 2
_STYLE = """<style>
.line { fill: none; stroke: #3f51b5; stroke-width: 2 }
@media (prefers-color-scheme: dark) { .line { stroke: #8c9eff } }
</style>"""


@dataclass(frozen=True)
class Point:
    """One export of a series.

    Attributes:
        name: the contender.
        size: of what grows.
        seconds: wall time, median.
        line: seconds that it would take if time grew from nothing exported to the second largest in a straight line.
        mebibytes: peak resident memory, median.
    """

    name: str
    size: float
    seconds: float
    line: float
    mebibytes: float


def points(result: Result, series: dict[str, Any]) -> list[Point]:
    """Return the exports of a series that have been measured, by size."""
    medians = result["medians"]
    found = [(size, name, medians[name]) for size, name in series["points"] if name in medians]
    if not found:
        return []
    start = medians.get(series["nothing"], {"wall_seconds": 0.0})["wall_seconds"]
    base_size, _, base = found[max(len(found) - 2, 0)]
    slope = max(base["wall_seconds"] - start, 0.0) / base_size
    return [
        Point(name, size, values["wall_seconds"], start + slope * size, values["peak_rss_mib"])
        for size, name, values in found
    ]


def table(result: Result) -> str:
    """Return the series as Markdown."""
    lines = ["| | wall s | straight line s | ratio | peak MiB | what |", "|---|---|---|---|---|---|"]
    for series in result["series"]:
        lines += [
            f"| {point.name} | {point.seconds:.2f} | {point.line:.2f} | {point.seconds / point.line:.2f} "
            f"| {point.mebibytes:.0f} | {result['notes'].get(point.name, '')} |"
            for point in points(result, series)
        ]
    nothing = result["medians"].get(result["series"][0]["nothing"])
    last = "" if nothing is None else f" An export of nothing takes {nothing['wall_seconds']:.2f} s."
    return "\n".join(lines) + f"\n\nThe line goes from nothing exported to the second largest of each series.{last}"


def charts(result: Result) -> str:
    """Return the series as one SVG: time beside the straight line at the left, memory at the right."""
    body = [_STYLE]
    for place, series in enumerate(result["series"]):
        found, top = points(result, series), place * _HEIGHT
        times, what = [point.seconds for point in found], series["what"]
        lines = [point.line for point in found]
        body += _panel(_LEFT, top, f"{what}: wall time, s", found, times, lines=lines)
        memory = [point.mebibytes for point in found]
        body += _panel(_LEFT + _PANEL + _GAP, top, f"{what}: peak memory, MiB", found, memory)
    return svg(len(result["series"]) * _HEIGHT + 8, f"{result['case']}: dashed is a straight line", body)


def _panel(
    left: int,
    top: int,
    title: str,
    found: Sequence[Point],
    values: Sequence[float],
    *,
    lines: Sequence[float] = (),
) -> list[str]:
    """Return one diagram; with a line to compare with its axes are logarithmic, without one they begin at zero."""
    logarithmic = bool(lines)
    low, high = top + _HEIGHT - _BOTTOM, top + _TOP
    across = _scale([point.size for point in found], left, left + _PANEL, logarithmic=True)
    most = [*values, *lines] if logarithmic else [0, 1.15 * max(values, default=1)]
    up = _scale(most, low, high, logarithmic=logarithmic)
    spots = [(across(point.size), up(value)) for point, value in zip(found, values, strict=True)]
    body = [
        f'<text class="title" x="{left - 30}" y="{top + 24}">{escape(title)}</text>',
        f'<path class="axis" d="M{left} {high}V{low}H{left + _PANEL}"/>',
    ]
    if lines:
        line = [(across(point.size), up(value)) for point, value in zip(found, lines, strict=True)]
        body.append(f'<path class="axis" stroke-dasharray="5 4" d="{_path(line)}"/>')
    body.append(f'<path class="line" d="{_path(spots)}"/>')
    for point, value, (x, y) in zip(found, values, spots, strict=True):
        body += [
            f'<circle class="own" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
            f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{value:.3g}</text>',
            f'<text x="{x:.1f}" y="{low + 18}" text-anchor="middle">{short(point.size).strip()}</text>',
        ]
    return body


def _scale(values: Sequence[float], start: float, end: float, *, logarithmic: bool) -> Any:
    """Return what maps values to places between two ends."""
    positions = [math.log10(value) if logarithmic else value for value in values] or [0.0]
    least, span = min(positions), (max(positions) - min(positions)) or 1.0
    return lambda value: start + ((math.log10(value) if logarithmic else value) - least) * (end - start) / span


def _path(spots: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots) if spots else ""


def short(size: float) -> str:
    """Return a number with three digits and a prefix that may stand before a unit."""
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.3g} "
