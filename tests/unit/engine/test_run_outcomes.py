"""What a run reports and records when something fails, above all around its commit point."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rivet_core.api import Transient
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.engine.result import overall_exit_code
from rivet_local.destination import LocalDestination
from unit.engine.shop import ORDERS, Shop

PUBLISHED = "its dataset was published before that and is complete"


def after(method: Any, matches: Callable[..., bool], then: Callable[[], object]) -> Any:
    """Return ``method`` with something that happens right after the first call that matches."""
    done = False

    def called(self: LocalDestination, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = method(self, *args, **kwargs)
        if not done and matches(*args, **kwargs):
            done = True
            then()
        return result

    return called


def after_commit(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Let something happen when ``_SUCCESS`` is written and nobody knows it yet."""
    put = after(LocalDestination.put, lambda key, *args, **kwargs: key == "_SUCCESS", then)
    monkeypatch.setattr(LocalDestination, "put", put)


def fail(error: BaseException) -> Callable[..., object]:
    def raising(*args: object, **kwargs: object) -> object:
        raise error

    return raising


def test_one_export_that_fails_stops_no_other(shop: Shop) -> None:
    shop.configure("{name: missing, table: missing, destination: {type: local, path: missing}}", ORDERS)
    failed, succeeded = shop.run_all()
    assert (failed.status, failed.exit_code) == ("failed", 2)
    assert (succeeded.status, succeeded.exit_code, succeeded.rows) == ("succeeded", 0, 2)


def test_an_interrupt_stops_all_others(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.configure(ORDERS, "{name: later, table: orders, destination: {type: local, path: later}}")
    monkeypatch.setattr(SqlalchemySource, "describe", fail(KeyboardInterrupt()))
    (interrupted,) = shop.run_all()
    assert (interrupted.status, interrupted.exit_code) == ("interrupted", 130)
    assert shop.runs() == ["interrupted"]


def test_the_highest_exit_code_is_that_of_the_command() -> None:
    assert overall_exit_code([0, 5, 1]) == 5
    assert overall_exit_code([3, 130, 0]) == 130
    assert overall_exit_code([]) == 0


def test_code_that_calls_exit_does_not_end_in_success(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqlalchemySource, "describe", fail(SystemExit(0)))
    result = shop.run()
    assert (result.status, result.exit_code) == ("failed", 1)
    assert result.error is not None
    assert result.error.message == "unexpected SystemExit: 0"
    assert shop.runs() == ["failed"]


def test_a_lease_that_is_lost_while_old_parts_are_moved_is_a_warning(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.publish()
    (shop.out / "part-000007.parquet").write_bytes(b"of a run that died")
    steal = lambda: shop.state("UPDATE rivet_lease SET token = token + 1")  # noqa: E731
    monkeypatch.setattr(LocalDestination, "move", after(LocalDestination.move, lambda *args: True, steal))
    result = shop.run()
    assert (result.status, result.exit_code) == ("succeeded", 0)
    assert result.quarantined == ["part-000001.parquet"]
    assert any("old parts are left to the next run: the lease" in warning for warning in result.warnings)


def test_an_event_that_cannot_be_recorded_after_the_commit_is_a_warning(shop: Shop) -> None:
    shop.publish()
    with shop.state_refuses("rivet_event", "INSERT", "NEW.kind IN ('published', 'part_quarantined')"):
        result = shop.run()
    assert (result.status, result.exit_code) == ("succeeded", 0)
    assert result.quarantined == ["part-000001.parquet"]
    assert len(result.warnings) == 1
    assert "the state has no record of 'published' and what came after" in result.warnings[0]


def test_an_event_that_cannot_be_recorded_before_the_commit_fails_the_run(shop: Shop) -> None:
    shop.publish()
    with shop.state_refuses("rivet_event", "INSERT", "NEW.kind = 'part_committed'"):
        result = shop.run()
    assert result.error is not None
    assert (result.status, result.error.code) == ("failed", "R801")
    assert PUBLISHED not in result.error.hint


def test_a_state_that_fails_after_the_commit_is_an_error_that_says_that_the_dataset_is_there(shop: Shop) -> None:
    first = shop.publish()
    with shop.state_refuses("rivet_run", "UPDATE", "NEW.status = 'succeeded'"):
        second = shop.run()
    assert second.error is not None
    assert (second.status, second.rows, second.error.code, second.exit_code) == ("succeeded", 2, "R801", 1)
    assert second.error.hint.startswith(PUBLISHED)
    assert shop.runs() == ["succeeded", "publishing"]
    third = shop.publish()
    assert shop.runs() == ["succeeded"] * 3
    assert len({first.run_id, second.run_id, third.run_id}) == 3


def test_a_lost_answer_to_the_commit_and_to_the_look_after_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    head = LocalDestination.head

    def lose() -> None:
        def head_fails_once(self: LocalDestination, key: str) -> Any:
            monkeypatch.setattr(LocalDestination, "head", head)
            raise Transient("the answer was lost")

        monkeypatch.setattr(LocalDestination, "head", head_fails_once)
        raise Transient("the answer was lost")

    after_commit(monkeypatch, lose)
    result = shop.run()
    assert result.error is not None
    assert (result.status, result.rows, result.error.code) == ("succeeded", 2, "R407")
    assert PUBLISHED in result.error.hint
    assert shop.runs() == ["succeeded"]


def test_an_interrupt_while_the_answer_to_the_commit_is_on_its_way(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    after_commit(monkeypatch, fail(KeyboardInterrupt()))
    result = shop.run()
    assert result.error is not None
    assert (result.status, result.rows, result.exit_code) == ("succeeded", 2, 130)
    assert result.error.hint == PUBLISHED
    assert shop.runs() == ["succeeded"]


def test_an_interrupt_whose_outcome_cannot_be_looked_up_is_settled_by_the_next_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:

        def interrupt() -> None:
            context.setattr(LocalDestination, "head", fail(Transient("unreachable")))
            raise KeyboardInterrupt

        after_commit(context, interrupt)
        result = shop.run()
    assert (result.status, result.exit_code) == ("interrupted", 130)
    assert shop.runs() == ["interrupted"]
    shop.publish()
    assert shop.runs() == ["succeeded", "succeeded"]
    assert shop.state("SELECT error_code, rows FROM rivet_run ORDER BY sequence LIMIT 1") == [(None, 2)]


def test_an_interrupt_while_old_parts_are_moved_leaves_a_published_dataset(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.publish()
    with monkeypatch.context() as context:
        context.setattr(LocalDestination, "move", fail(KeyboardInterrupt()))
        result = shop.run(validate=True)
    assert (result.status, result.exit_code, result.validation) == ("succeeded", 130, None)
    assert shop.parts() == ["part-000001.parquet", "part-000002.parquet"]
    assert shop.publish().quarantined == ["part-000001.parquet", "part-000002.parquet"]


def test_a_plugin_that_breaks_while_old_parts_are_moved_is_a_warning(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.publish()
    monkeypatch.setattr(LocalDestination, "move", fail(ZeroDivisionError("division by zero")))
    result = shop.run()
    assert (result.status, result.exit_code) == ("succeeded", 0)
    assert result.warnings == ["old parts are left to the next run: unexpected ZeroDivisionError: division by zero"]


def test_a_dataset_that_was_to_be_proven_and_is_not_is_no_success(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    after_commit(monkeypatch, (shop.out / "part-000001.parquet").unlink)
    result = shop.run(validate=True)
    assert result.error is not None
    assert (result.status, result.exit_code, result.error.code) == ("failed", 3, "R601")
    assert result.validation is not None
    assert result.validation["verdict"] == "parts_failed"


def test_every_run_leaves_its_summary(shop: Shop) -> None:
    results = [shop.publish()]
    shop.configure("{name: orders, table: missing, destination: {type: local, path: out}}")
    results.append(shop.run())
    for result in results:
        summary = json.loads((shop.directory / ".rivet" / "runs" / result.run_id / "summary.json").read_text())
        assert summary == json.loads(json.dumps(result.to_json()))


def test_a_summary_that_cannot_be_kept_is_a_warning(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    (shop.directory / ".rivet").write_text("in the way")
    result = shop.run()
    assert (result.status, result.exit_code) == ("succeeded", 0)
    assert "the summary could not be written" in result.warnings[0]
    assert result.warnings[0] in caplog.text
