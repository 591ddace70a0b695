"""The ``stdout`` destination: one export's bytes into a pipe or a redirection. Nothing is certified."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import BinaryIO, Final, cast

from pydantic import BaseModel, ConfigDict

from rivet_core.api import DestinationContext, DestinationError, StorageFull, StreamDestination

_STDOUT_FD: Final = 1
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StdoutConfig(BaseModel):
    """The standard output; it has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def open_stdout(config: StdoutConfig, context: DestinationContext) -> StdoutDestination:
    """Return the standard output as a destination."""
    return StdoutDestination()


class StdoutDestination(StreamDestination):
    """Writes to file descriptor 1, below whatever Python has made of ``sys.stdout``."""

    uri = "stdout:"

    def open(self) -> BinaryIO:
        """Open a duplicate of the descriptor, so that closing the stream leaves the process its standard output.

        The stream raises ``BrokenPipeError`` when the reader has gone away.

        Raises:
            DestinationError: the process has no standard output.
        """
        if sys.stdout is not None:
            sys.stdout.flush()
        try:
            return cast(BinaryIO, io.BufferedWriter(_Stdout(os.dup(_STDOUT_FD), "wb")))
        except OSError as error:
            raise _translate(error) from error


class _Stdout(io.FileIO):
    def write(self, data: bytes) -> int:  # type: ignore[override]  # typeshed: any buffer, and None where non-blocking
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _translate(error) from error


def _translate(error: OSError) -> DestinationError:
    message = f"cannot write to the standard output: {error.strerror}"
    if error.errno in _FULL:
        return StorageFull(message, hint="free some space or redirect to another disk")
    return DestinationError(message)
