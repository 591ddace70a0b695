"""The environment of each peer: ``.venvs/bench/PEER``, with exactly the packages of ``bench/peers/PEER.txt``."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).with_name("peers")


class PeerMissing(Exception):
    """A peer could not be installed; the message is the last line of what its installation said."""


@dataclass(frozen=True)
class Environment:
    """An installed peer.

    Attributes:
        python: its interpreter.
        versions: what is pinned in it, by package.
    """

    python: Path
    versions: dict[str, str]

    def script(self, name: str, *arguments: str) -> list[str]:
        """Return the command that runs a script of ``bench/peers`` there."""
        return [str(self.python), str(PEERS / name), *arguments]

    @property
    def described(self) -> str:
        """Name and version of the peer itself, which is pinned first."""
        return " ".join(next(iter(self.versions.items())))


@cache
def environment_of(peer: str) -> Environment:
    """Install a peer unless it is there.

    Raises:
        PeerMissing: it cannot be.
    """
    directory = Path(".venvs", "bench", peer)
    _make(directory / ".installed")
    return Environment(ROOT / directory / "bin" / "python", _pins(PEERS / f"{peer}.txt"))


@cache
def original_program() -> Path:
    """Return the original Rivet, installed unless it is there.

    Raises:
        PeerMissing: it cannot be.
    """
    directory = Path(".venvs", "original")
    _make(directory / ".installed")
    return ROOT / directory / "bin" / "rivet"


def client_program(name: str) -> str:
    """Return a database's own client.

    Raises:
        PeerMissing: it is not installed.
    """
    program = shutil.which(name)
    if program is None:
        raise PeerMissing(f"the program {name} is not installed")
    return program


def said_by(command: list[str]) -> str:
    """Return what a program says of its version, in short: its first line up to a comma, without its directory."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next(iter(done.stdout.splitlines()), "version unknown")
    return line.split(",")[0].removeprefix(f"{Path(command[0]).parent}/").strip()


def _make(target: Path) -> None:
    done = subprocess.run(["make", "-s", str(target)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerMissing(_reason(done.stderr))


def _pins(requirements: Path) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in requirements.read_text().splitlines())
    pins = (line.split("==") for line in lines if line)
    return {name.split("[")[0]: version for name, version in pins}


def _reason(output: str) -> str:
    """Return the last line of an installation that is not make's own."""
    lines = [line for line in output.strip().splitlines() if not line.startswith("make")]
    return lines[-1] if lines else "its installation failed and said nothing"
