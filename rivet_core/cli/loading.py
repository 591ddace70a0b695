"""Imports what a command needs without looking for garbage meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Let the block import and configure at full speed.

    It makes some hundred thousand objects that stay to the end. Looking at them again and again for garbage takes an
    eighth of the start; after the first such block of a process the collector passes over them for good.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what is garbage by then is never freed, so only once
            gc.freeze()
        gc.enable()
