"""What is fuzzed: which module, from which source, with which inputs kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "fuzz"


@dataclass(frozen=True)
class Target:
    """One decoder.

    Attributes:
        name: what the command line calls it.
        module: the native module.
        source: its Cython source.
        corpus: the folder of the inputs that are kept, which an ordinary test replays.
        check: the name of the module whose function ``check`` decodes an input and holds the result to what must hold.
        bounds: constants of the source and their values in the fuzzer, within a small input's reach.
    """

    name: str
    module: str
    source: Path
    corpus: Path
    check: str
    bounds: Mapping[str, int]

    @property
    def work(self) -> Path:
        """Where it is built and where its growing corpus and its crashes are."""
        return WORK / self.name

    @property
    def binary(self) -> Path:
        """The native module, built with sanitizers and for coverage."""
        return self.work / "_decoder.so"

    def checker(self) -> Callable[[bytes], None]:
        """Return the function that takes an input."""
        module = import_module(self.check)
        for name in vars(module).keys() & self.bounds.keys():
            setattr(module, name, self.bounds[name])
        check: Callable[[bytes], None] = module.check
        return check


def _target(engine: str, name: str = "", **bounds: int) -> Target:
    plugin = ROOT / "plugins" / f"rivet-{engine}"
    package = f"rivet_{engine}"
    return Target(
        name or engine,
        f"{package}._decoder",
        plugin / package / "_decoder.pyx",
        plugin / "tests" / "corpus",
        f"fuzz.{engine}",
        bounds,
    )


TARGETS = {
    target.name: target
    for target in (
        _target("postgres"),
        _target("mysql"),
        # The same with batches of few rows, so that inputs come to the ends of buffers, and with small packets, so that
        # rows go on in the next one.
        _target(
            "postgres",
            "postgres-small",
            FIRST_ROWS=2,
            MAX_ROWS=9,
            FIRST_BYTES_PER_VALUE=1,
            MAX_EXTENSION_BYTES=16,
            MAX_ROW_BYTES=200,
            RECEIVE_BYTES=48,
            MAX_ASIDE_BYTES=200,
        ),
        _target("mysql", "mysql-small", FIRST_ROWS=2, GROWTH=2, FIRST_TEXT_BYTES=1, MAX_PAYLOAD=31),
    )
}
