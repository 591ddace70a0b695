"""What a fixture does when the server that it should start is not installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import NoReturn, TypeVar

import pytest

from servers.process import ServerMissing

Server = TypeVar("Server")


def missing(what: str) -> NoReturn:
    """Fail where servers are required (``CI=true`` or ``RIVET_REQUIRE_SERVERS=1``), skip on a user's machine."""
    if os.environ.get("CI") == "true" or os.environ.get("RIVET_REQUIRE_SERVERS") == "1":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def serve(server: AbstractContextManager[Server], *, optional: bool = False) -> Iterator[Server]:
    """Yield what ``server`` yields, or report that it is missing; a fixture's body is ``yield from serve(...)``.

    Args:
        server: runs it.
        optional: its absence only skips tests, wherever they run.
    """
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except ServerMissing as absent:
            if optional:
                pytest.skip(str(absent))
            missing(str(absent))
        yield running
