"""Replays the inputs that fuzzing has found worth keeping, for the tests of the plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path


def kept_beside(test: str) -> list[Path]:
    """Return the kept inputs of the plugin to which a file of tests belongs."""
    return sorted(Path(test).with_name("corpus").iterdir())


def replay(check: Callable[..., object], paths: Iterable[Path]) -> None:
    """Check inputs thoroughly.

    Raises:
        AssertionError: one of them fails; its name is in the message.
    """
    for path in paths:
        try:
            check(path.read_bytes(), thorough=True)
        except AssertionError as error:
            raise AssertionError(path.name) from error
