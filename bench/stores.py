"""The object stores that exports are measured against: real servers on loopback, each with an empty bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

from servers.azurite import azurite_server
from servers.fake_gcs import fake_gcs_server
from servers.process import ServerMissing
from servers.seaweedfs import seaweedfs_server


@dataclass(frozen=True)
class Place:
    """Where an export goes.

    Attributes:
        destination: the section of ``rivet.yaml``; every run gets a prefix of its own.
        environment: the variables that it names.
    """

    destination: dict[str, object]
    environment: dict[str, str] = field(default_factory=dict, repr=False)


LOCAL = Place({"type": "local", "path": "output/{run_id}"})
#: The same prefix for every run.
FIXED = Place({"type": "local", "path": "output"})


@contextmanager
def object_stores() -> Iterator[tuple[dict[str, Place], tuple[str, ...]]]:
    """Run the servers that are installed; yield their places by name, and a line for each one that is missing."""
    places: dict[str, Place] = {}
    missing: list[str] = []
    with ExitStack() as stack:
        for name, run in _SERVERS.items():
            try:
                places[name] = stack.enter_context(run())
            except ServerMissing as error:
                missing.append(f"{name}: {error}")
        yield places, tuple(missing)


@contextmanager
def _s3() -> Iterator[Place]:
    with seaweedfs_server() as server:
        destination = {
            "type": "s3",
            "bucket": server.create_bucket(),
            "prefix": "bench/{run_id}/",
            "endpoint": server.endpoint,
            "region": server.region,
            "access_key_env": "BENCH_ACCESS_KEY",
            "secret_key_env": "BENCH_SECRET_KEY",
        }
        keys = {"BENCH_ACCESS_KEY": server.admin.access_key, "BENCH_SECRET_KEY": server.admin.secret_key}
        yield Place(destination, keys)


@contextmanager
def _gcs() -> Iterator[Place]:
    with fake_gcs_server() as server:
        yield Place(
            {
                "type": "gcs",
                "bucket": server.create_bucket(),
                "prefix": "bench/{run_id}/",
                "endpoint": server.endpoint,
                "allow_anonymous": True,
            }
        )


@contextmanager
def _azure() -> Iterator[Place]:
    with azurite_server() as server:
        destination = {
            "type": "azure",
            "bucket": server.create_container(),
            "account_name": server.account_name,
            "prefix": "bench/{run_id}/",
            "endpoint": server.endpoint,
            "account_key_env": "BENCH_ACCOUNT_KEY",
        }
        yield Place(destination, {"BENCH_ACCOUNT_KEY": server.account_key})


_SERVERS: dict[str, Callable[[], AbstractContextManager[Place]]] = {
    "s3, SeaweedFS": _s3,
    "gcs, fake-gcs-server": _gcs,
    "azure, Azurite": _azure,
}
