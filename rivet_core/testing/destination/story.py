"""The steps that led to a failure, told with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Story:
    """What was done so far; a failure inside ``told`` carries it as a note."""

    def __init__(self) -> None:
        self._steps: list[str] = []

    def add(self, step: str) -> None:
        """Append a step."""
        self._steps.append(step)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Add the story to an exception that leaves the block."""
        try:
            yield
        except Exception as error:
            steps = (f"  {number}. {step}" for number, step in enumerate(self._steps, start=1))
            error.add_note("\n".join(("scenario, from a fresh prefix:", *steps)))
            raise
