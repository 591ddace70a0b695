"""Charts as SVG, legible on a light and on a dark page, from nothing but text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 760
_LEFT, _RIGHT, _TOP, _ROW, _BAR = 190, 90, 44, 26, 18

STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600; font-size: 14px }
.own { fill: #3f51b5 } .peer { fill: #9aa4b2 } .axis { stroke: #9aa4b2; fill: none }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .own { fill: #8c9eff } .peer { fill: #6b7480 } }
</style>"""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: the label at its left.
        value: its length in the chart's unit.
        own: whether it is Rivet's.
    """

    name: str
    value: float
    own: bool = False


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """Return horizontal bars from zero, each with its value."""
    longest = max((row.value for row in rows), default=0) or 1
    scale = (WIDTH - _LEFT - _RIGHT) / longest
    body = [f'<text class="title" x="8" y="22">{escape(title)}</text>']
    for place, row in enumerate(rows):
        top = _TOP + place * _ROW
        base = top + _BAR - 4
        length = max(row.value * scale, 1)
        kind = "own" if row.own else "peer"
        body += [
            f'<text x="{_LEFT - 8}" y="{base}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" y="{base}">{row.value:.3g} {escape(unit)}</text>',
        ]
    return svg(_TOP + len(rows) * _ROW + 10, title, body)


def svg(height: int, title: str, body: Sequence[str]) -> str:
    """Return a picture of the charts' width."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, *body, "</svg>"]) + "\n"
