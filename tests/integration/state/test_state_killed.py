"""A process killed at any statement or commit leaves a state that the next run reads and goes on from."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rivet_core.state import RunStart, open_state

# The writes of killed_writer.py in their order, by the words that it notes.
WRITES = ["acquired", "running", "reserved", "committed", "publishing", "succeeded", "event", "released"]


def test_a_kill_at_any_step_loses_no_finished_write_and_tears_none(state_url: str, tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed_writer.py")), state_url, str(journals)],
        check=True,
        timeout=120,
    )
    killed = len(list(journals.iterdir())) - 1
    assert killed >= 3 * len(WRITES), "a write takes at least a check, a statement and a commit"
    assert (journals / str(killed + 1)).read_text().split() == WRITES

    with open_state(state_url, tmp_path) as store:
        for number in range(1, killed + 1):
            export, run_id, prefix = f"orders_{number}", f"run_{number}", f"file:///orders_{number}/"
            noted = (journals / str(number)).read_text().split()
            found = store.newest_run(export)
            seen = [
                *(["running"] if found else []),
                *(["reserved"] if store.highest_part(prefix) else []),
                *(["committed"] if store.parts(run_id) else []),
                *(["publishing"] if found and found.manifest_fingerprint else []),
                *(["succeeded"] if found and found.rows == 5 and found.status == "succeeded" else []),
                *(["event"] if store.events(run_id) else []),
            ]
            recorded = [word for word in noted if word not in {"acquired", "released"}]
            expected = WRITES[1:-1]
            assert seen == expected[: len(seen)], number
            assert len(recorded) <= len(seen) <= len(recorded) + 1, number

            started = time.monotonic()
            with store.acquire(export) as lease:
                assert time.monotonic() - started < 30, number
                store.start_run(lease, RunStart(f"next_{number}", export, "full", prefix, datetime.now(UTC)))
                if found:
                    after = next(run for run in store.runs(export) if run.run_id == run_id)
                    assert after.status == ("succeeded" if "succeeded" in seen else "abandoned"), number
                store.reserve_part(lease, f"next_{number}", "part-000002.parquet", store.highest_part(prefix) + 1)
                store.finish_run(lease, f"next_{number}", "succeeded", finished_at=datetime.now(UTC))
