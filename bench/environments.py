"""The environment of each peer: ``.venvs/bench/PEER``, with exactly the packages of ``bench/peers/PEER.txt``."""

from __future__ import annotations

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
        """What is installed, in one line."""
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())


@cache
def environment_of(peer: str) -> Environment:
    """Install a peer unless it is there.

    Raises:
        PeerMissing: it cannot be.
    """
    directory = ROOT / ".venvs" / "bench" / peer
    target = directory.relative_to(ROOT) / ".installed"
    done = subprocess.run(["make", "-s", str(target)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerMissing(_reason(done.stderr))
    return Environment(directory / "bin" / "python", _pins(PEERS / f"{peer}.txt"))


def _pins(requirements: Path) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in requirements.read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def _reason(output: str) -> str:
    """Return the last line of an installation that is not make's own."""
    lines = [line for line in output.strip().splitlines() if not line.startswith("make")]
    return lines[-1] if lines else "its installation failed and said nothing"
