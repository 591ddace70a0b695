"""The steps that led to a failure, told with it, and how far a machine searches for short ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import Phase, settings

from rivet_core.testing.profiles import kit_settings


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


def machine_settings(*, max_examples: int, stateful_step_count: int) -> settings:
    """Return the kit's settings for a machine whose steps take their time.

    One failure is made short, instead of every distinct one, and nothing is run only to explain it: the story does.
    """
    return settings(
        kit_settings(),
        max_examples=max_examples,
        stateful_step_count=stateful_step_count,
        report_multiple_bugs=False,
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )
