import sys
from pathlib import Path

import pytest

from bench.measure import CommandFailed, Contender, Sample, interleave, median, rotated


def python(name: str, code: str, **fields: object) -> Contender:
    return Contender(name, [sys.executable, "-c", code], **fields)


def test_each_round_begins_with_another_contender():
    contenders = [python(name, "") for name in "abc"]
    orders = ["".join(contender.name for contender in rotated(contenders, number)) for number in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]


def test_the_unmeasured_round_is_in_no_sample_and_every_contender_has_one_for_each_round(tmp_path: Path):
    code = f"open({str(tmp_path)!r} + '/ran', 'a').write('x')"
    race = interleave([python("a", code), python("b", "")], 2)
    assert {name: len(samples) for name, samples in race.samples.items()} == {"a": 2, "b": 2}
    assert (tmp_path / "ran").read_text() == "xxx"


def test_a_peer_that_needs_too_long_runs_once_and_who_is_no_peer_every_time(tmp_path: Path):
    code = f"open({str(tmp_path)!r} + '/ran', 'a').write('x')"
    race = interleave([python("rivet", ""), python("slow", code, peer=True)], 3, patience_seconds=0)
    assert {name: len(samples) for name, samples in race.samples.items()} == {"rivet": 3, "slow": 1}
    assert (tmp_path / "ran").read_text() == "x"


def test_a_peer_that_fails_is_reported_with_its_reason_and_runs_no_more(tmp_path: Path):
    code = f"open({str(tmp_path)!r} + '/ran', 'a').write('x'); raise SystemExit('it has no driver')"
    race = interleave([python("a", ""), python("broken", code, peer=True)], 2)
    assert list(race.samples) == ["a"]
    assert "it has no driver" in race.failures["broken"]
    assert (tmp_path / "ran").read_text() == "x"


def test_a_password_that_a_peer_shows_is_not_in_its_reason():
    code = "import os, urllib.parse as u; p = os.environ['DB_PASSWORD']; raise SystemExit(p + u.quote(p, '') + '!')"
    contender = python("talker", code, peer=True, environment={"DB_PASSWORD": "p@:/%#1"})
    assert interleave([contender], 1).failures["talker"] == "talker exited with 1: ……!"


def test_what_is_no_peer_and_fails_ends_the_comparison():
    with pytest.raises(CommandFailed, match="it broke"):
        interleave([python("rivet", "raise SystemExit('it broke')")], 1)


def test_a_peer_whose_output_is_refused_has_failed():
    def refuse() -> None:
        raise CommandFailed("exported 1 rows of 2")

    race = interleave([python("short", "", check=refuse, peer=True)], 1)
    assert race.failures == {"short": "exported 1 rows of 2"}


def test_a_peer_that_takes_too_long_is_ended_with_its_children():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    race = interleave([python("slow", code, peer=True, limit_seconds=0.5)], 1)
    assert race.failures == {"slow": "slow was ended after 0 s"}


def test_the_output_is_the_size_of_its_parquet_files(tmp_path: Path):
    code = f"import pathlib; p = pathlib.Path({str(tmp_path)!r}); " + "; ".join(
        f"(p / {name!r}).write_bytes(bytes({size}))" for name, size in (("a.parquet", 2**20), ("_SUCCESS", 5))
    )
    race = interleave([python("a", code, output=tmp_path)], 1)
    assert race.samples["a"][0].output_mib == 1


def test_the_median_is_the_middle_one_and_none_where_something_was_not_measured():
    samples = [Sample(wall, 0, 0) for wall in (3.0, 1.0, 9.0)]
    assert median(samples, "wall_seconds") == 3
    assert median(samples, "output_mib") is None
    assert median([], "wall_seconds") is None


def test_the_peak_of_memory_is_seen_after_it_was_given_back_and_of_children_too():
    child = "import time; data = bytearray(200 << 20); del data; time.sleep(1.5)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    (sample,) = interleave([python("a", code)], 1, unmeasured=0).samples["a"]
    assert 200 < sample.peak_rss_mib < 260
