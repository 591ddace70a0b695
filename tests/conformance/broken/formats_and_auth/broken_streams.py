"""Entry module of a plugin of streams broken on purpose, each in one way, and the sound one below them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, ClassVar, cast

from pydantic import BaseModel

from rivet_core.api import Capabilities, DestinationContext, DestinationSpec, StorageFull, StreamDestination
from rivet_core.hookspecs import hookimpl


class Receiver:
    """Where the bytes go; this test's own."""

    received: ClassVar[bytearray] = bytearray()
    takes: ClassVar[Exception | None] = None
    hung_up: ClassVar[bool] = False

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[object]:
        """Take what comes; yields what returns everything that has come."""
        cls.received, cls.hung_up = bytearray(), False
        yield lambda: bytes(cls.received)

    @classmethod
    @contextmanager
    def refusing(cls, error: Exception) -> Iterator[None]:
        """Take nothing for a while."""
        cls.takes, cls.hung_up = error, False
        try:
            yield
        finally:
            cls.takes = None

    @classmethod
    def take(cls, data: bytes) -> None:
        if cls.takes is not None:
            raise cls.takes
        if cls.hung_up:
            raise BrokenPipeError
        cls.received += data

    @classmethod
    def gone(cls) -> object:
        return cls.refusing(BrokenPipeError())

    @classmethod
    def full(cls) -> object:
        return cls.refusing(StorageFull("the receiver is full", hint="make room"))


class ReceiverConfig(BaseModel):
    """There is one receiver."""


class SoundRaw(io.RawIOBase):
    """Sends each piece at once."""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # typeshed: any buffer
        Receiver.take(bytes(data))
        return len(data)


class SoundStream(StreamDestination):
    """A buffer before the receiver; the broken ones differ from it in one class."""

    uri = "receiver:"
    claims: ClassVar = Capabilities()
    raw: ClassVar[type[SoundRaw]] = SoundRaw

    def __init__(self, config: ReceiverConfig, context: DestinationContext) -> None:
        pass

    def open(self) -> BinaryIO:
        return cast("BinaryIO", io.BufferedWriter(self.raw()))


class ClaimsConditions(SoundStream):
    """Promises what only a store can keep."""

    claims: ClassVar = Capabilities(conditional_put=True)


class TakesAPart(SoundStream):
    """Says nothing when the receiver takes less than it was given: nothing repeats the rest."""

    class Raw(SoundRaw):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            super().write(bytes(data)[:65_536])
            return len(data)

    raw = Raw


class TextMode(SoundStream):
    """Writes the line ends of another system."""

    class Raw(SoundRaw):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            super().write(bytes(data).replace(b"\n", b"\r\n"))
            return len(data)

    raw = Raw


class ForgetsTheEnd(SoundStream):
    """Sends large pieces only, and not what is left at the end."""

    class Raw(SoundRaw):
        held = b""

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.held += bytes(data)
            if len(self.held) >= 65_536:
                super().write(self.held)
                self.held = b""
            return len(data)

    raw = Raw


class HangsUp(SoundStream):
    """Closes the connection that all streams of the process share."""

    class Raw(SoundRaw):
        def close(self) -> None:
            Receiver.hung_up = True
            super().close()

    raw = Raw


class HidesFailures(SoundStream):
    """Goes on as if everything had been sent."""

    class Raw(SoundRaw):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            try:
                return super().write(data)
            except (OSError, StorageFull):
                return len(data)

    raw = Raw


STREAMS: dict[str, type[SoundStream]] = {
    "sound-stream": SoundStream,
    "stream-claims-conditions": ClaimsConditions,
    "stream-takes-a-part": TakesAPart,
    "stream-in-text-mode": TextMode,
    "stream-forgets-the-end": ForgetsTheEnd,
    "stream-hangs-up": HangsUp,
    "stream-hides-failures": HidesFailures,
}


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    return [
        DestinationSpec(
            type=name,
            kind="stream",
            summary="A receiver, for tests of the tests",
            config=f"{__name__}:ReceiverConfig",
            factory=f"{__name__}:{class_.__name__}",
            capabilities=class_.claims,
        )
        for name, class_ in STREAMS.items()
    ]
