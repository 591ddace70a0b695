"""A table in PostgreSQL, written anew in every generation, and the sites that it is exported to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from crash.observer import Place, check_manifests, prove, strangers
from crash.places import Address
from crash.watcher import digest
from servers.postgres import Postgres
from servers.seaweedfs import SeaweedFS

ROWS = 600


class Shop:
    """A database with the table ``orders``: NULLs, text, numerics, gaps between the keys."""

    def __init__(self, server: Postgres) -> None:
        self.database = server.create_database()
        self.generation = 0
        self.database.execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, generation int NOT NULL, amount numeric(12,2), note text,"
            " paid boolean, at timestamptz NOT NULL)"
        )
        self.change()

    def change(self) -> str:
        """Write every row anew; returns the digest of the rows."""
        self.generation += 1
        self.database.execute(
            "TRUNCATE orders",
            f"INSERT INTO orders SELECT i * 7 - 999, {self.generation}, nullif(i % 5, 0) * {self.generation}.25,"
            f" CASE WHEN i % 3 > 0 THEN repeat('é{self.generation} ' || i, 1 + i % 9) END, nullif(i % 4, 0) = 1,"
            f" timestamptz '2026-03-28 23:59:59.5+00' + i * interval '7 minutes 1 microsecond'"
            f" FROM generate_series(1, {ROWS}) AS i",
        )
        return self.digest()

    def digest(self) -> str:
        """Return the digest of the rows that are in the table."""
        with self.database.connect() as connection:
            return digest(connection.execute("SELECT * FROM orders").fetchall())


@dataclass(frozen=True)
class Site:
    """Where an export goes, and a directory for its configuration.

    Attributes:
        directory: exists.
        destination: the section of ``rivet.yaml``, without the prefix.
        address: how a reader reaches the prefix.
        environment: variables that the section names.
        state_url: the state database; by default a file in the directory.
        export: fields of the export.
    """

    directory: Path
    destination: dict[str, str]
    address: Address
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    state_url: str | None = field(default=None, repr=False)
    export: dict[str, object] = field(default_factory=dict)

    def configure(self, shop: Shop, prefix: str) -> Path:
        """Write a configuration that exports to a prefix and return its path."""
        where = "path" if self.address.path else "prefix"
        export = {
            "name": "orders",
            "table": "orders",
            "destination": {**self.destination, where: prefix},
            **self.export,
        }
        source = {"type": "postgres", "url": shop.database.url}
        state = {"state": {"url": self.state_url}} if self.state_url else {}
        config = self.directory / "rivet.yaml"
        config.write_text(json.dumps({"source": source, **state, "exports": [export]}))  # JSON is YAML
        return config

    def at(self, prefix: str) -> Address:
        """Return how a reader reaches a prefix."""
        if self.address.path:
            return replace(self.address, path=str(self.directory / prefix))
        return replace(self.address, prefix=prefix)


def local_site(directory: Path, **fields: object) -> Site:
    """Return a site on the disk."""
    return replace(Site(directory, {"type": "local"}, Address(path=str(directory))), **fields)  # type: ignore[arg-type]


def s3_site(directory: Path, server: SeaweedFS, **fields: object) -> Site:
    """Return a site in a bucket of its own."""
    bucket, keys = server.create_bucket(), server.admin
    destination = {"type": "s3", "bucket": bucket, "endpoint": server.endpoint, "region": server.region}
    variables = {"KEY": keys.access_key, "SECRET": keys.secret_key}
    address = Address("", server.endpoint, bucket, "", keys.access_key, keys.secret_key)
    named = {"access_key_env": "KEY", "secret_key_env": "SECRET"}
    return replace(Site(directory, {**destination, **named}, address, variables), **fields)  # type: ignore[arg-type]


@contextmanager
def opened(address: Address) -> Iterator[Place]:
    """Reach a prefix."""
    with address.open() as place:
        yield place


def check_settled(place: Place, expected: str) -> dict[str, object]:
    """Prove a prefix at rest: it is the source, every part once, and what nobody lists is in quarantine.

    Returns:
        The manifest.
    """
    check_manifests(place)
    found = prove(place)
    assert found is not None
    assert digest(row.values() for row in found.rows()) == expected, "the dataset is not the source"
    assert strangers(place, found) == set(), "parts of no dataset are left"
    return dict(found.manifest)
