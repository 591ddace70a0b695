"""A result as text for the terminal, as Markdown and as a chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench import growth
from bench.chart import Bar, bars
from bench.result import Result

_COLUMNS = (
    ("wall s", "wall_seconds", "{:.2f}"),
    ("client CPU s", "cpu_seconds", "{:.2f}"),
    ("server CPU s", "server_cpu_seconds", "{:.2f}"),
    ("peak MiB", "peak_rss_mib", "{:.0f}"),
    ("output MiB", "output_mib", "{:.1f}"),
    ("longest statement s", "longest_statement_seconds", "{:.2f}"),
)
_UNITS = {
    "wall_seconds": "s",
    "cpu_seconds": "CPU s",
    "server_cpu_seconds": "CPU s of the server",
    "peak_rss_mib": "MiB",
    "output_mib": "MiB",
    "longest_statement_seconds": "s for the longest statement",
}


def text_of(result: Result) -> str:
    """Return the medians, goals and failures for a terminal."""
    rows = [("", *(cell for cell in _heads(result)))]
    rows += [(name, *cells) for name, cells in _cells(result).items()]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    lines += [f"not exact: {name}: {text}" for name, text in _faults(result).items() if text != "exact"]
    lines += [f"{'met   ' if goal['met'] else 'MISSED'} {goal_text(goal)}" for goal in result["goals"]]
    lines += [f"failed {name}: {first_line(reason)}" for name, reason in result.get("failures", {}).items()]
    lines += [f"skipped {line}" for line in result["skipped"]]
    return "\n".join(lines)


def markdown(result: Result, *, goals: bool = True) -> str:
    """Return the table of a result, its goals, and who failed or is missing and why."""
    parts = [growth.table(result) if result.get("series") else _table(result)]
    if result.get("stages"):
        parts.insert(0, _stages(result))
    if goals and result["goals"]:
        parts.append(goals_table([result]))
    absent = [f"- {name}: {first_line(reason)}" for name, reason in result.get("failures", {}).items()]
    absent += [f"- {line}" for line in result["skipped"]]
    if absent:
        parts.append("Not in the table:\n\n" + "\n".join(absent))
    return "\n\n".join(parts) + "\n"


def goals_table(results: Iterable[Result]) -> str:
    """Return the goals of some cases and whether they are met."""
    lines = ["| case | goal | measured | |", "|---|---|---|---|"]
    for result in results:
        for goal in result["goals"]:
            bound, value = _goal_parts(goal)
            lines.append(f"| `{result['case']}` | {bound} | {value} | {'met' if goal['met'] else '**missed**'} |")
    return "\n".join(lines)


def goal_text(goal: dict[str, Any]) -> str:
    """Return a goal and what was measured in one line."""
    bound, value = _goal_parts(goal)
    return f"{bound}: {value}"


def chart(result: Result) -> str:
    """Return the medians of the wall time as an SVG of bars, or what grows as one of lines."""
    if result.get("series"):
        return growth.charts(result)
    reference = result.get("reference")
    found = [
        Bar(name, values["wall_seconds"], own=name == reference or name.startswith("rivet"))
        for name, values in result["medians"].items()
    ]
    rows = f"{result['rows']:,} rows, " if result["rows"] else ""
    return bars(f"{result['case']}: {rows}wall time, median", "s", sorted(found, key=lambda bar: bar.value))


def first_line(reason: str, length: int = 300) -> str:
    """Return a reason in one line: the last one that says something, which is where tracebacks say what happened."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    text = lines[0] if len(lines) < 2 else f"{lines[0][:80]} … {lines[-1]}"
    return text[:length]


def _goal_parts(goal: dict[str, Any]) -> tuple[str, str]:
    unit = _UNITS[goal["quantity"]]
    if goal["baseline"] is None:
        return f"{goal['contender']}: at most {goal['limit']:.4g} {unit}", f"{goal['value']:.3g} {unit}"
    what = "" if goal["quantity"] == "wall_seconds" else f" in {unit}"
    return (
        f"{goal['contender']}: at most {goal['limit']:.2f} times {goal['baseline']}{what}",
        f"{goal['value']:.2f} times",
    )


def _stages(result: Result) -> str:
    """Return what each stage spends: the difference to what ends before it."""
    medians = result["medians"]
    found = [(label, medians[name]) for label, name in result["stages"] if name in medians]
    if not found:
        return ""
    server = found[-1][1]["server_cpu_seconds"]
    spent = [("the server", server)]
    before = 0.0
    for label, values in found:
        spent.append((label, max(values["cpu_seconds"] - before, 0.0)))
        before = values["cpu_seconds"]
    total = sum(seconds for _, seconds in spent) or 1.0
    lines = ["| who | CPU s | share |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {label} | {value:.2f} | {value / total:.0%} |" for label, value in spent)])


def _table(result: Result) -> str:
    heads = _heads(result)
    notes = result.get("notes", {})
    faults = _faults(result)
    extra = ["types and values"] * bool(faults) + ["how"] * bool(notes)
    lines = [_row(["", *heads, *extra]), _row(["---"] * (1 + len(heads) + len(extra)))]
    for name, cells in _cells(result).items():
        tail = [faults.get(name, "")] * bool(faults) + [notes.get(name, "")] * bool(notes)
        lines.append(_row([name, *cells, *tail]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _heads(result: Result) -> list[str]:
    heads = [head for head, quantity, _ in _COLUMNS if _measured(result, quantity)]
    return [heads[0], *([f"times {result['reference']}"] if result.get("reference") else []), *heads[1:]]


def _measured(result: Result, quantity: str) -> bool:
    return any(values.get(quantity) is not None for values in result["medians"].values()) or quantity == "wall_seconds"


def _cells(result: Result) -> dict[str, list[str]]:
    """Return the cells of each contender, the quickest first."""
    reference = result.get("reference")
    medians = result["medians"]
    base = medians[reference]["wall_seconds"] if reference in medians else None
    table = {}
    for name, values in sorted(medians.items(), key=lambda item: item[1]["wall_seconds"]):
        cells = [
            "" if values.get(quantity) is None else form.format(values[quantity])
            for _, quantity, form in _COLUMNS
            if _measured(result, quantity)
        ]
        ratio = "" if base is None else f"{values['wall_seconds'] / base:.2f}"
        table[name] = [cells[0], *([ratio] if reference else []), *cells[1:]]
    return table


def _faults(result: Result) -> dict[str, str]:
    """Return what is not exact in each contender's output."""
    return {name: _fault(verdict) for name, verdict in result.get("verdicts", {}).items()}


def _fault(verdict: dict[str, Any]) -> str:
    changed: dict[tuple[str, str], list[str]] = {}
    for name, (exact, found) in verdict["types"].items():
        changed.setdefault((exact, found), []).append(name)
    texts = [f"{exact} as {found}" for exact, found in changed]
    texts += [f"**{name}: {reason}**" for name, reason in verdict["wrong"].items()]
    return "; ".join(texts) or "exact"
