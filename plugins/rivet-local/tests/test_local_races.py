"""Threads and processes at one key: exactly one winner, and a killed writer leaves nothing visible."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Callable

from rivet_core.api import Condition, IfAbsent, IfVersion, NotFound, PreconditionFailed
from rivet_local.destination import LocalDestination

Spawn = Callable[[str], "subprocess.Popen[str]"]  # of conftest.py

THREADS = 8
ROUNDS = 20


def in_threads(action: Callable[[int], None]) -> Counter[str]:
    """Run ``action`` in all threads at once and count how it ended."""
    barrier = threading.Barrier(THREADS)
    ends: list[str] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            action(number)
        except (PreconditionFailed, NotFound) as error:
            ends.append(type(error).__name__)
        else:
            ends.append("won")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(ends)


ONE_WINNER = Counter(won=1, PreconditionFailed=THREADS - 1)


def test_one_thread_creates(destination: LocalDestination) -> None:
    for attempt in range(ROUNDS):
        key = f"new-{attempt}/directory/key"
        assert in_threads(lambda n, key=key: destination.put(key, b"%d" % n, condition=IfAbsent())) == ONE_WINNER


def test_one_thread_replaces_a_version(destination: LocalDestination) -> None:
    current = destination.put("m", b"start")
    for _ in range(ROUNDS):
        condition: Condition = IfVersion(current.version)
        assert in_threads(lambda n, c=condition: destination.put("m", b"%d" % n, condition=c)) == ONE_WINNER
        head = destination.head("m")
        assert head is not None
        current = head


def test_one_thread_moves(destination: LocalDestination) -> None:
    for attempt in range(ROUNDS):
        info = destination.put(f"a-{attempt}", b"x")
        ends = in_threads(lambda n, info=info: destination.move(info, f"moved/{info.key}-{n}"))
        assert ends == Counter(won=1, NotFound=THREADS - 1)
        assert len(list(destination.list(f"moved/{info.key}-"))) == 1


def test_reader_sees_old_or_new_bytes_never_a_part(destination: LocalDestination) -> None:
    contents = [bytes([value]) * 100_000 for value in range(20)]
    destination.put("m", contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            with destination.open_reader("m") as reader:
                seen.add(reader.read())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for content in contents:
        destination.put("m", content)
    done.set()
    watcher.join()
    assert seen <= set(contents)


PROCESSES = 4
PER_PROCESS = 25

CREATE = f"""
sys.stdin.readline()
won = 0
for attempt in range({PER_PROCESS}):
    try:
        destination.put(f"d-{{attempt}}/key", b"x" * os.getpid(), condition=IfAbsent())
        won += 1
    except PreconditionFailed:
        pass
print(won)
"""

INCREMENT = f"""
sys.stdin.readline()
for _ in range({PER_PROCESS}):
    while True:
        info = destination.head("counter")
        try:
            with destination.open_reader("counter", version=info.version) as reader:
                value = int(reader.read())
            destination.put("counter", b"%d" % (value + 1), condition=IfVersion(info.version))
            break
        except (PreconditionFailed, NotFound):
            pass
"""


def in_processes(spawn: Spawn, code: str) -> list[str]:
    processes = [spawn(code) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        printed.append(out)
    return printed


def test_one_process_creates(destination: LocalDestination, spawn: Spawn) -> None:
    assert sum(int(wins) for wins in in_processes(spawn, CREATE)) == PER_PROCESS
    assert len(list(destination.list())) == PER_PROCESS
    assert list(destination.pending_uploads()) == []


def test_no_process_overwrites_a_version_it_has_not_seen(destination: LocalDestination, spawn: Spawn) -> None:
    destination.put("counter", b"0")
    in_processes(spawn, INCREMENT)
    with destination.open_reader("counter") as reader:
        assert int(reader.read()) == PROCESSES * PER_PROCESS


WRITE_FOREVER = """
writer = destination.open_writer("d/part-000001.parquet")
while True:
    writer.write(bytes(1 << 16))
    print("wrote", flush=True)
"""


def test_killed_writer_leaves_nothing_visible_and_can_be_cleaned(destination: LocalDestination, spawn: Spawn) -> None:
    process = spawn(WRITE_FOREVER)
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "wrote\n"
    process.kill()
    process.communicate()
    assert destination.head("d/part-000001.parquet") is None
    assert list(destination.list()) == []
    (pending,) = destination.pending_uploads()
    assert pending.key == "d/part-000001.parquet"
    assert pending.size_bytes is not None
    assert pending.size_bytes >= 3 << 16
    destination.put("d/part-000001.parquet", b"next run", condition=IfAbsent())
    destination.abort_upload(pending)
    assert list(destination.pending_uploads()) == []


HOLD_LOCK = """
from rivet_local.tree import Tree
tree = Tree(Path(sys.argv[1]))
with tree.lock():
    print("locked", flush=True)
    time.sleep(600)
"""


def test_killed_process_loses_the_lock(destination: LocalDestination, spawn: Spawn) -> None:
    info = destination.put("m", b"1")
    process = spawn(HOLD_LOCK)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    blocked = threading.Thread(target=destination.put, args=("m", b"2"), kwargs={"condition": IfVersion(info.version)})
    blocked.start()
    blocked.join(0.2)
    assert blocked.is_alive()
    process.kill()
    process.communicate()
    blocked.join(30)
    assert not blocked.is_alive()
    with destination.open_reader("m") as reader:
        assert reader.read() == b"2"
