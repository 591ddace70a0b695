"""Runs two writers in lock step: each destination operation waits for its turn, so every interleaving can be tried."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from rivet_core.api import Transient

# Opening a reader is no step of its own: it is pinned to the version that HEAD has just found, so together they see one
# state whatever happens between them.
STEPS = ("put", "head", "list", "copy", "move", "delete")


class Baton:
    """Passes turns among writers.

    Args:
        between: called while every writer stands still, after each operation.
    """

    def __init__(self, names: Sequence[str], between: Callable[[], None]) -> None:
        self._between = between
        self._condition = threading.Condition()
        self._turn: str | None = None
        self._waiting: set[str] = set()
        self._running = set(names)

    def wait(self, name: str) -> None:
        """Called by a writer before each operation: wait until it is granted."""
        with self._condition:
            self._waiting.add(name)
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._turn == name)
            self._waiting.discard(name)
            self._turn = None
            self._condition.notify_all()

    def finish(self, name: str) -> None:
        """Called by a writer at its end."""
        with self._condition:
            self._running.discard(name)
            self._condition.notify_all()

    def drive(self, choose: Callable[[list[str]], str]) -> None:
        """Grant operations one at a time until all writers have ended; ``choose`` picks among those that wait."""
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._turn is None and self._waiting >= self._running)
                if not self._running:
                    break
                self._between()
                self._turn = choose(sorted(self._running))
                self._condition.notify_all()
        self._between()


class Stepwise:
    """A destination whose operations wait for the baton; one of its answers can be lost.

    Args:
        lose: operation and key; the first such call is carried out but answered with ``Transient``.
    """

    def __init__(self, inner: Any, baton: Baton, name: str, lose: tuple[str, str] | None = None) -> None:
        self._inner = inner
        self._baton = baton
        self._name = name
        self._lose = lose
        self.lost = False
        self.uri = inner.uri

    def __getattr__(self, operation: str) -> Any:
        function = getattr(self._inner, operation)
        if operation not in STEPS:
            return function

        def stepped(*args: Any, **kwargs: Any) -> Any:
            self._baton.wait(self._name)
            result = function(*args, **kwargs)
            if operation == "list":
                result = iter(list(result))
            if not self.lost and self._lose == (operation, args[0] if args else ""):
                self.lost = True
                raise Transient(f"the answer of {operation} was lost")
            return result

        return stepped


def run_writers(baton: Baton, writers: dict[str, Callable[[], None]], choose: Callable[[list[str]], str]) -> None:
    """Run every writer in a thread of its own under the baton and wait for all."""
    failures: list[BaseException] = []

    def body(name: str, writer: Callable[[], None]) -> None:
        try:
            writer()
        except BaseException as error:  # noqa: BLE001  reported below
            failures.append(error)
        finally:
            baton.finish(name)

    threads = [threading.Thread(target=body, args=item, daemon=True) for item in writers.items()]
    for thread in threads:
        thread.start()
    baton.drive(choose)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
