"""Starts a server program on a free loopback port in a directory of its own, and ends it again."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 30
PORT_ATTEMPTS = 3
ENVIRONMENTS = Path(__file__).parents[2] / ".venvs"


class ServerMissing(Exception):
    """A server program is not installed; the message says what to install."""


class ServerFailed(Exception):
    """A server program did not come up; the message holds the end of its log."""


def find_program(name: str, *patterns: str) -> Path | None:
    """Return the program from ``PATH``, or the last match of the absolute glob ``patterns``, or ``None``."""
    if found := shutil.which(name):
        return Path(found)
    matches = [match for pattern in patterns for match in sorted(Path("/").glob(pattern.lstrip("/")))]
    return matches[-1] if matches else None


def find_installed(name: str, environment: str, pattern: str) -> Path:
    """Return the last match of the glob ``pattern`` in one of the environments that ``make test`` sets up.

    Raises:
        ServerMissing: nothing there matches.
    """
    matches = sorted((ENVIRONMENTS / environment).glob(pattern))
    if not matches:
        raise ServerMissing(f"{name} is not installed: make .venvs/{environment}/.installed")
    return matches[-1]


def free_port() -> int:
    """Return a loopback port that nothing listened on a moment ago."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return different loopback ports that nothing listened on a moment ago."""
    with ExitStack() as probes:
        ports = []
        for _ in range(count):
            probe = probes.enter_context(socket.socket())
            probe.bind((HOST, 0))
            ports.append(probe.getsockname()[1])
        return ports


def unprivileged_user(*names: str) -> str | None:
    """Return the first of ``names`` that exists, when this process is root; ``None`` for an ordinary user."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in (*names, "nobody") if name in known)


@contextmanager
def private_directory(prefix: str, owner: str | None = None) -> Iterator[Path]:
    """Yield a temporary directory that ``owner`` can reach, which pytest's own directories are not for other users."""
    with tempfile.TemporaryDirectory(prefix=f"rivet-{prefix}-", ignore_cleanup_errors=True) as name:
        if owner is not None:
            shutil.chown(name, owner)
        yield Path(name)


def run_to_end(command: Sequence[str], *, user: str | None = None) -> None:
    """Run a preparing program.

    Raises:
        ServerFailed: it failed.
    """
    done = subprocess.run(
        command,
        user=user,
        extra_groups=[] if user else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ServerFailed(f"{command[0]} exited with {done.returncode}:\n{done.stdout[-2000:]}")


@contextmanager
def running(
    command: Callable[[int], Sequence[str]],
    answers: Callable[[int], bool],
    log: Path,
    *,
    stop_signal: int,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run a server until the block ends and yield its port.

    Args:
        command: the command line for a port; tried on another port if the server exits before it answers, because
            another process may have taken the port.
        answers: whether a real request to the port succeeds.
        log: receives standard output and error.
        stop_signal: what ends the server cleanly.
        user: whom to run it as, when this process is root.
        environment: variables beside those of this process.

    Raises:
        ServerFailed: the server exited or did not answer in time.
    """
    for attempt in range(1, PORT_ATTEMPTS + 1):
        port = free_port()
        with log.open("ab") as output:
            process = subprocess.Popen(
                command(port),
                user=user,
                extra_groups=[] if user else None,
                env={**os.environ, **(environment or {})},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C in the terminal ends the tests, and they end the server
            )
        try:
            if _wait(process, port, answers):
                yield port
                return
            if attempt == PORT_ATTEMPTS or process.poll() is None:
                tail = log.read_text(errors="replace")[-2000:]
                raise ServerFailed(f"{process.args[0]} did not answer on port {port}:\n{tail}")
        finally:
            _stop(process, stop_signal)


def _wait(process: subprocess.Popen[bytes], port: int, answers: Callable[[int], bool]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if answers(port):
            return True
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes], stop_signal: int) -> None:
    if process.poll() is not None:
        return
    process.send_signal(stop_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
