"""The cases ``profile-…``: who spends the CPU of Rivet's own export of lineitem."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial

from bench.case import Case, Setting
from bench.environments import PEERS, PeerMissing
from bench.measure import Contender
from bench.peer_cases import FLOOR, PEERS_OF, Source, loaded, peer_contender
from bench.rivet import rivet_run
from bench.statements import version_of
from bench.tables import LINEITEM, Engine
from servers.process import ServerMissing

_RUN = "rivet run"
_STAGES = (
    ("start: modules, configuration, connection", "start"),
    ("drain and decode", "read"),
    ("encode", "encode"),
    ("hash", "hash"),
    ("write, sync, state, manifest", _RUN),
)


@contextmanager
def _profile(engine: Engine, setting: Setting) -> Iterator[Case]:
    try:
        with loaded(engine, LINEITEM, setting) as source:
            drain = PEERS_OF[engine][FLOOR]
            contenders = [_up_to(source, name) for _, name in _STAGES]
            contenders.append(peer_contender(source, FLOOR, drain, {}))
            yield Case(
                tuple(contenders),
                rows=source.rows,
                server=version_of(source.server),
                notes={FLOOR: drain.note},
                stages=_STAGES,
            )
    except (PeerMissing, ServerMissing) as missing:
        yield Case((), skipped=(str(missing),))


def _up_to(source: Source, stage: str) -> Contender:
    """Return what does the work of a stage and of those before it."""
    directory = source.work / stage.replace(" ", "-")
    run = rivet_run(
        directory,
        source.engine,
        source.server.url,
        source.rows,
        name=stage,
        table=source.table.name,
        watch=source.watch,
    )
    if stage == _RUN:
        return run
    command = [sys.executable, str(PEERS / "rivet_stages.py"), stage, str(directory / "rivet.yaml")]
    return replace(run, command=command, check=lambda: None, output=None)


PROFILE_CASES: dict[str, Callable[[Setting], AbstractContextManager[Case]]] = {
    "profile-postgres": partial(_profile, "postgres"),
    "profile-mariadb": partial(_profile, "mysql"),
}
