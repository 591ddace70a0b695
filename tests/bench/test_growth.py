"""Reports of how time and memory grow: the line that time is held against, the table, the chart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from bench.case import Case, Series
from bench.growth import points
from bench.measure import Contender, Race, Sample
from bench.report import chart, markdown
from bench.result import Result, document

SECONDS = {"none": 1.0, "10": 1.5, "100": 3.0, "1000": 22.0}
SERIES = Series("rows", ((10, "10"), (100, "100"), (1000, "1000")), "none")


def result(series: Series = SERIES, **seconds: float) -> Result:
    measured = {**SECONDS, **seconds}
    case = Case(
        tuple(Contender(name, []) for name in measured), notes={"100": "100 rows of 5 columns"}, series=(series,)
    )
    samples = {name: [Sample(wall, wall, 120, 1.0)] for name, wall in measured.items()}
    return document("scaling", datetime(2026, 11, 23, tzinfo=UTC), case, Race(samples, {}))


def test_the_line_goes_from_nothing_to_the_second_largest():
    found = points(result(), result()["series"][0])
    assert [point.line for point in found] == pytest.approx([1.2, 3.0, 21.0])
    assert [point.seconds for point in found] == [1.5, 3.0, 22.0]


def test_a_series_whose_start_took_longest_still_has_a_line_and_a_chart():
    slow = result(none=5.0)
    assert [point.line for point in points(slow, slow["series"][0])] == [5.0, 5.0, 5.0]
    ET.fromstring(chart(slow))


def test_a_contender_that_failed_is_left_out():
    made = result(replace(SERIES, points=(*SERIES.points, (10_000, "failed"))))
    assert [point.name for point in points(made, made["series"][0])] == ["10", "100", "1000"]
    assert "failed" not in markdown(made)


def test_one_export_of_a_series_alone_is_its_own_line():
    alone = result(replace(SERIES, points=((10, "10"), (5, "failed")), nothing="failed"))
    assert [(point.name, point.line) for point in points(alone, alone["series"][0])] == [("10", 1.5)]
    ET.fromstring(chart(alone))
    assert "| 10 | 1.50 | 1.50 | 1.00 |" in markdown(alone)


def test_a_series_of_which_nothing_ran_is_an_empty_diagram():
    none = result(replace(SERIES, points=((5, "failed"),)))
    assert points(none, none["series"][0]) == []
    ET.fromstring(chart(none))


def test_the_table_says_by_how_much_time_grows_more_than_the_export():
    assert "| 1000 | 22.00 | 21.00 | 1.05 | 120 |  |" in markdown(result())
    assert "| 100 | 3.00 | 3.00 | 1.00 | 120 | 100 rows of 5 columns |" in markdown(result())
    assert "An export of nothing takes 1.00 s." in markdown(result())


def test_the_chart_has_time_beside_its_line_and_memory():
    picture = ET.fromstring(chart(result()))
    space = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f"{space}circle")) == 6
    assert [path.get("stroke-dasharray") for path in picture.findall(f"{space}path")].count("5 4") == 1
    titles = [text.text for text in picture.findall(f"{space}text") if text.get("class") == "title"]
    assert titles == ["rows: wall time, s", "rows: peak memory, MiB"]
