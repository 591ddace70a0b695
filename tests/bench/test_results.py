import json
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from bench.case import Case, Goal
from bench.cases import CASES
from bench.measure import Contender, Race, Sample
from bench.page import SECTIONS, charts, page
from bench.report import chart, markdown, text_of
from bench.result import Result, document, newest
from bench.verdict import Verdict

GOALS = (
    Goal("rivet", "wall_seconds", 1.25, "floor"),
    Goal("rivet", "wall_seconds", 0.95, "duckdb"),
    Goal("rivet", "longest_statement_seconds", 1),
    Goal("rivet", "wall_seconds", 1, "broken"),
)


def result() -> Result:
    names = ("rivet", "duckdb", "floor", "broken")
    verdicts = {"rivet": Verdict(5), "duckdb": Verdict(5, {"uid": ["uuid", "string"]}, {"price": "2 values differ"})}
    case = Case(
        tuple(Contender(name, []) for name in names),
        GOALS,
        ("sling: there is no wheel",),
        5,
        "PostgreSQL 15.18",
        "rivet",
        {"rivet": "full, defaults", "duckdb": "`COPY TO`"},
        verdicts,
    )
    samples = {
        "rivet": [Sample(wall, 3, 200, 10, 0.5) for wall in (1.0, 5.0, 2.0)],
        "duckdb": [Sample(4, 6, 300, 12, 0.4)],
        "floor": [Sample(1, 1, 50, None, 3)],
    }
    race = Race(samples, {"broken": "Traceback:\n  File x\nValueError: no driver"})
    return document("peers-postgres", datetime(2026, 11, 23, tzinfo=UTC), case, race)


def test_a_document_is_plain_data_with_every_round_its_medians_and_the_goals_that_could_be_judged():
    found = json.loads(json.dumps(result()))
    assert [sample["wall_seconds"] for sample in found["samples"]["rivet"]] == [1, 5, 2]
    assert found["medians"]["rivet"]["wall_seconds"] == 2
    assert found["medians"]["floor"]["output_mib"] is None
    assert [(goal["baseline"], goal["value"], goal["met"]) for goal in found["goals"]] == [
        ("floor", 2.0, False),
        ("duckdb", 0.5, True),
        (None, 0.5, True),
    ]


def test_markdown_has_everyone_with_what_they_lost_and_who_failed():
    text = markdown(result())
    assert "| floor | 1.00 | 0.50 | 1.00 | 50 |  | 3.00 |" in text
    assert "| rivet | 2.00 | 1.00 | 3.00 | 200 | 10.0 | 0.50 | exact | full, defaults |" in text
    assert "uuid as string; **price: 2 values differ**" in text
    assert "rivet: at most 1.25 times floor | 2.00 times | **missed** |" in text
    assert "- broken: Traceback: … ValueError: no driver" in text
    assert "- sling: there is no wheel" in text


def test_stages_are_the_differences_of_what_ends_with_each_of_them():
    stages = (("start", "start"), ("decode", "read"), ("encode", "run"))
    samples = {"start": 1.0, "read": 3.0, "run": 7.0}
    race = Race({name: [Sample(9, spent, 0, server_cpu_seconds=3.0)] for name, spent in samples.items()}, {})
    text = markdown(document("profile", datetime(2026, 11, 23, tzinfo=UTC), Case((), stages=stages), race))
    rows = ("the server | 3.00 | 30%", "start | 1.00 | 10%", "decode | 2.00 | 20%", "encode | 4.00 | 40%")
    assert "\n".join(f"| {row} |" for row in rows) in text


def test_the_terminal_shows_the_same():
    lines = text_of(result()).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["floor", "rivet", "duckdb"]
    assert "MISSED rivet: at most 1.25 times floor: 2.00 times" in lines
    assert "not exact: duckdb: uuid as string; **price: 2 values differ**" in lines


def test_the_chart_is_a_picture_with_a_bar_for_each_contender():
    root = ET.fromstring(chart(result()))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["peers-postgres: 5 rows, wall time, median", "floor", "1 s", "rivet", "2 s", "duckdb", "4 s"]
    widths = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[2] == 2 * widths[1] == 4 * widths[0]


def test_the_newest_result_of_each_case_counts():
    results = [{"case": case, "at": at} for case, at in (("a", "2026-11-23"), ("a", "2026-11-24"), ("b", "2026-11-22"))]
    assert {name: found["at"] for name, found in newest(results).items()} == {"a": "2026-11-24", "b": "2026-11-22"}


def test_the_page_shows_the_cases_that_have_a_result_with_server_machine_goals_and_picture():
    results = {"peers-postgres": result()}
    text = page(results)
    assert "## TPC-H lineitem from PostgreSQL" in text
    assert "MariaDB\n" not in text
    assert "`peers-postgres`, 2026-11-23: 5 rows; 3 rounds; " in text
    assert "PostgreSQL 15.18, Python " in text
    assert "| `peers-postgres` | rivet: at most 1.25 times floor | 2.00 times | **missed** |" in text
    assert text.count("**missed**") == 1
    assert "![Wall times of peers-postgres](benchmarks/peers-postgres.svg)" in text
    assert list(charts(results)) == ["peers-postgres"]


def test_every_case_that_the_page_shows_can_be_run():
    assert {case for section in SECTIONS for case in section.cases} <= set(CASES)
