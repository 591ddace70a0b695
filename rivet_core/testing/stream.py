"""The suite of destinations of kind ``stream``: every byte goes out in order, and a failure is never silent."""

from __future__ import annotations

import io
import json
import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, ClassVar

import pyarrow.parquet as pq
import pytest

from rivet_core.api import Capabilities, DestinationError, DestinationSpec, StreamDestination
from rivet_core.config import DestinationChoice, load
from rivet_core.engine.run import RunOptions, run_exports
from rivet_core.engine.store import open_unchecked
from rivet_core.plugins import Registry
from rivet_core.testing.catalog import proves
from rivet_core.testing.suite import Suite, choose_destination, not_applicable

__all__ = ["StreamHarness", "StreamSuite"]


@dataclass(frozen=True)
class StreamHarness:
    """A place that a stream's bytes go to.

    Attributes:
        receive: opens a block in which the stream leads to the harness; yields a function that returns every byte that
            has arrived so far.
        config: the destination's fields in ``rivet.yaml``, without ``type``.
        gone: opens a block in which the receiver has gone away, as the reader of a pipe; ``None`` if it cannot.
        full: opens a block in which the receiver takes nothing more, as a full disk; ``None`` if it cannot.
        secrets: values that no ``repr``, message or address may show.
        exclude: ids of tests that this *receiver* cannot show, each with the reason.
    """

    receive: Callable[[], AbstractContextManager[Callable[[], bytes]]]
    config: Mapping[str, object] = field(default_factory=dict)
    gone: Callable[[], AbstractContextManager[object]] | None = None
    full: Callable[[], AbstractContextManager[object]] | None = None
    secrets: Sequence[str] = ()
    exclude: Mapping[str, str] = field(default_factory=dict)


class StreamSuite(Suite):
    """Proves that a streaming destination loses no byte. Subclass it, name the type and give a harness.

    Attributes:
        destination: the type, as ``rivet.yaml`` says it; found through the entry point of the installed plugin.
    """

    harness_class = StreamHarness
    destination: ClassVar[str]

    @pytest.fixture
    def spec(self, registry: Registry) -> DestinationSpec:
        """What the plugin says about its destination."""
        return registry.destination(self.destination)

    @pytest.fixture
    def choice(self, registry: Registry, spec: DestinationSpec, harness: StreamHarness) -> DestinationChoice:
        """What ``rivet.yaml`` would say of the destination, validated."""
        return choose_destination(registry, spec, harness.config)

    @pytest.fixture
    def stream(self, registry: Registry, choice: DestinationChoice) -> StreamDestination:
        """The plugin's destination."""
        opened = open_unchecked(choice, registry, Path.cwd())
        if not isinstance(opened, StreamDestination):
            pytest.fail(f"the factory of {self.destination!r} returned {opened!r} instead of a StreamDestination")
        return opened

    @proves(
        "O-SPEC-1",
        breaks="Rivet promises for a stream what only a store can keep",
        hint="DestinationSpec(kind='stream') with the default Capabilities()",
    )
    def test_a_stream_claims_nothing(self, spec: DestinationSpec) -> None:
        assert spec.kind == "stream"
        assert spec.capabilities == Capabilities()

    @proves(
        "O-URI-1",
        breaks="logs and messages do not say where the bytes went, or show a secret",
        hint="uri names the receiver without its credentials",
    )
    def test_the_uri_names_the_receiver_without_secrets(
        self, stream: StreamDestination, harness: StreamHarness
    ) -> None:
        assert stream.uri
        assert ":" in stream.uri
        shown = stream.uri + repr(stream) + str(stream)
        assert [index for index, secret in enumerate(harness.secrets) if secret in shown] == []

    @proves(
        "O-BYTES-1",
        breaks="files that are piped on are damaged: line ends, zero bytes, text encodings",
        hint="write bytes as they are, to a binary stream",
    )
    def test_every_byte_arrives_unchanged(self, stream: StreamDestination, harness: StreamHarness) -> None:
        data = bytes(range(256)) + b"\r\n\n\r\x00\x1a\x04" + "naïve 🦔".encode()
        with harness.receive() as received:
            with stream.open() as out:
                out.write(data)
            assert received() == data

    @proves(
        "O-BYTES-2",
        breaks="pieces are lost or change places where a stream takes less than it is given",
        hint="write() takes everything, or returns how much it took as a raw stream does and is wrapped in a buffer",
    )
    def test_many_pieces_arrive_in_order(self, stream: StreamDestination, harness: StreamHarness) -> None:
        numbers = random.Random(11)  # noqa: S311  the same bytes in every run
        pieces = [numbers.randbytes(size) for size in (1, 0, 91, 3_000_000, 7, 65_536, 65_537, 1)]
        with harness.receive() as received:
            with stream.open() as out:
                for piece in pieces:
                    assert out.write(memoryview(piece)) == len(piece)
            arrived = received()
        assert len(arrived) == sum(map(len, pieces))
        assert arrived == b"".join(pieces)

    @proves(
        "O-BYTES-3",
        breaks="an export without rows adds bytes that are none of it",
        hint="open() and close() write nothing themselves",
    )
    def test_nothing_written_is_nothing_sent(self, stream: StreamDestination, harness: StreamHarness) -> None:
        with harness.receive() as received:
            stream.open().close()
            assert received() == b""

    @proves(
        "O-CLOSE-1",
        breaks="the end of an export is lost",
        hint="close() returns when everything has gone out; a second close() does nothing",
    )
    def test_close_sends_what_is_left(self, stream: StreamDestination, harness: StreamHarness) -> None:
        with harness.receive() as received:
            out = stream.open()
            out.write(b"the end")
            out.close()
            out.close()
            assert received() == b"the end"

    @proves(
        "O-CLOSE-2",
        breaks="the program cannot write its own messages after an export, or a second export fails",
        hint="close what open() has opened, not the process's own descriptor or connection",
    )
    def test_the_stream_opens_again(self, stream: StreamDestination, harness: StreamHarness) -> None:
        with harness.receive() as received:
            for data in (b"first ", b"second"):
                with stream.open() as out:
                    out.write(data)
            assert received() == b"first second"

    @proves(
        "O-FAIL-1",
        breaks="`rivet run | head` ends in a traceback, or an export counts as written that nobody has received",
        hint="raise BrokenPipeError, or a DestinationError, when the receiver has gone away",
    )
    def test_a_receiver_that_went_away_is_an_error(self, stream: StreamDestination, harness: StreamHarness) -> None:
        self._fails(stream, harness, harness.gone, (BrokenPipeError, DestinationError))

    @proves(
        "O-FAIL-2",
        breaks="an export counts as written although the disk was full",
        hint="raise StorageFull, or another DestinationError, when the receiver takes nothing more",
    )
    def test_a_receiver_without_room_is_an_error(self, stream: StreamDestination, harness: StreamHarness) -> None:
        self._fails(stream, harness, harness.full, (DestinationError,))

    @proves(
        "O-RUN-1",
        breaks="what `rivet run` sends is not the file that the same export would leave in a store",
        hint="take the bytes as the formats write them: in pieces of any size, from one thread",
    )
    def test_a_whole_export_arrives(self, registry: Registry, harness: StreamHarness, tmp_path: Path) -> None:
        rows = [(key, None if key % 3 == 0 else f"note {key}") for key in range(10_000)]
        with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
            shop.execute("CREATE TABLE notes (id INTEGER, note TEXT)")
            shop.executemany("INSERT INTO notes VALUES (?, ?)", rows)
        document = {
            "source": {"type": "sqlite", "database": "shop.db"},
            "exports": [
                {"name": "notes", "table": "notes", "format": "parquet"}
                | {"destination": {"type": self.destination, **harness.config}}
            ],
        }
        path = tmp_path / "rivet.yaml"
        path.write_text(json.dumps(document), encoding="utf-8")
        config = load(path, registry)
        with harness.receive() as received:
            (result,) = run_exports(config, config.exports, registry, RunOptions(), lambda *_: nullcontext())
            arrived = received()
        assert result.status == "succeeded"
        table = pq.read_table(io.BytesIO(arrived))
        assert list(zip(table["id"].to_pylist(), table["note"].to_pylist(), strict=True)) == rows

    @staticmethod
    def _fails(
        stream: StreamDestination,
        harness: StreamHarness,
        fault: Callable[[], AbstractContextManager[object]] | None,
        errors: tuple[type[Exception], ...],
    ) -> None:
        """Write until it fails, and check how it fails."""
        if fault is None:
            not_applicable("the harness cannot show this failure")
        with fault():
            out = stream.open()
            with pytest.raises(errors) as caught:
                _fill(out)
            with suppress(*errors):  # what could not go out is still held back
                out.close()
        assert [index for index, secret in enumerate(harness.secrets) if secret in str(caught.value)] == []


def _fill(out: BinaryIO) -> None:
    out.write(bytes(1 << 20))
    out.flush()
