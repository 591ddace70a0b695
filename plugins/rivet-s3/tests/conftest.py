"""A SeaweedFS and a moto for all tests of the plugin, a proxy that can misbehave, and ways to use the plugin there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
import stamina
import yaml

from rivet_core.cli.main import main
from rivet_core.engine.store import open_unchecked
from rivet_core.testing.suite import choose_destination, fresh_prefix, installed
from rivet_s3.destination import S3Destination
from servers.http_proxy import HttpProxy
from servers.moto import Moto, moto_server
from servers.required import serve
from servers.s3 import S3Keys, S3Server
from servers.seaweedfs import SeaweedFS, seaweedfs_server

#: What would lead the SDK to credentials, regions or endpoints of the user who runs the tests.
AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(frozen=True)
class Place:
    """A prefix of a bucket, fresh for one test, and a client that looks at it without the plugin."""

    server: S3Server
    bucket: str
    prefix: str
    client: Any

    def get(self, key: str) -> bytes:
        with self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"] as body:
            content: bytes = body.read()
        return content

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data)

    def head(self, key: str, **more: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.head_object(
            Bucket=self.bucket, Key=self.prefix + key, ChecksumMode="ENABLED", **more
        )
        return found

    def names(self) -> list[str]:
        answer = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix)
        return [item["Key"].removeprefix(self.prefix) for item in answer.get("Contents", ())]

    def uploads(self) -> list[str]:
        answer = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self.prefix)
        return [item["Key"].removeprefix(self.prefix) for item in answer.get("Uploads", ())]


class Connect(Protocol):
    def __call__(
        self,
        place: Place,
        *,
        through: HttpProxy | None = None,
        keys: S3Keys | None = None,
        upload_bytes: int | None = None,
        **fields: object,
    ) -> S3Destination: ...


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


class Export:
    """A configuration that exports a table of 3000 rows in three chunks to a place, and the command line for it."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._directory = directory
        self._capture = capture
        with closing(sqlite3.connect(directory / "shop.db")) as shop, shop:
            shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
            shop.executemany("INSERT INTO orders VALUES (?, ?)", ((number, f"note {number}") for number in range(3000)))

    def configure(self, place: Place, *, through: HttpProxy | None = None, **fields: object) -> None:
        """Write ``rivet.yaml``."""
        server = place.server.through(through.port) if through else place.server
        destination = {"type": "s3", "bucket": place.bucket, "prefix": place.prefix, "endpoint": server.endpoint}
        export = {"name": "orders", "table": "orders", "mode": "chunked", "chunk_size": 1000}
        document = {
            "source": {"type": "sqlite", "url": f"sqlite:///{self._directory}/shop.db"},
            "state": {"url": f"sqlite:///{self._directory}/state.db"},
            "exports": [{**export, "destination": {**destination, **fields}}],
        }
        (self._directory / "rivet.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    def rivet(self, *arguments: str) -> Finished:
        """Run a command to its end, in this process."""
        self._capture.readouterr()
        code = main([arguments[0], "-c", str(self._directory / "rivet.yaml"), *arguments[1:]])
        out, err = self._capture.readouterr()
        return Finished(code, out, err)


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """A private SeaweedFS; under pytest-xdist one for each worker."""
    yield from serve(seaweedfs_server())


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """A private moto; under pytest-xdist one for each worker."""
    yield from serve(moto_server())


@pytest.fixture(scope="session")
def shared_bucket(seaweedfs: SeaweedFS) -> str:
    """A bucket in SeaweedFS; each test uses prefixes of its own there."""
    return seaweedfs.create_bucket()


@pytest.fixture(scope="session")
def raw(seaweedfs: SeaweedFS) -> Iterator[Any]:
    """A client of SeaweedFS for a look that bypasses the plugin."""
    with closing(seaweedfs.client()) as client:
        yield client


@pytest.fixture
def place(seaweedfs: SeaweedFS, shared_bucket: str, raw: Any) -> Place:
    """A fresh prefix in SeaweedFS."""
    return Place(seaweedfs, shared_bucket, f"{fresh_prefix()}/", raw)


@pytest.fixture(scope="session")
def shared_moto_bucket(moto: Moto) -> str:
    """A bucket in moto; each test uses prefixes of its own there."""
    return moto.create_bucket()


@pytest.fixture(scope="session")
def moto_raw(moto: Moto) -> Iterator[Any]:
    """A client of moto for a look that bypasses the plugin."""
    with closing(moto.client()) as client:
        yield client


@pytest.fixture
def moto_place(moto: Moto, shared_moto_bucket: str, moto_raw: Any) -> Place:
    """A fresh prefix in moto."""
    return Place(moto, shared_moto_bucket, f"{fresh_prefix()}/", moto_raw)


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[HttpProxy]:
    """A proxy in front of SeaweedFS, which passes everything until a test says otherwise."""
    with HttpProxy(seaweedfs.port) as running:
        yield running


@pytest.fixture
def moto_proxy(moto: Moto) -> Iterator[HttpProxy]:
    """The same in front of moto."""
    with HttpProxy(moto.port) as running:
        yield running


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the logins of the user who runs the tests, and the metadata service of the machine."""
    for name in AWS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Open the destination at a place as a run does: fields validated, login resolved; closed after the test."""
    numbers = count(1)
    with ExitStack() as opened:

        def open_there(
            place: Place,
            *,
            through: HttpProxy | None = None,
            keys: S3Keys | None = None,
            upload_bytes: int | None = None,
            **fields: object,
        ) -> S3Destination:
            server = place.server.through(through.port) if through else place.server
            section = {"bucket": place.bucket, "prefix": place.prefix, "endpoint": server.endpoint, **fields}
            if not section.keys() & {"aws_profile", "allow_anonymous", "auth"}:
                section |= set_keys(monkeypatch, keys or server.admin, f"S3_{next(numbers)}")
            registry = installed()
            choice = choose_destination(registry, registry.destination("s3"), section)
            found = open_unchecked(choice, registry, Path.cwd(), upload_bytes=upload_bytes)
            assert isinstance(found, S3Destination)
            opened.callback(found.close)
            return found

        yield open_there


@pytest.fixture
def export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Export:
    """A small database, and ``rivet`` for it."""
    return Export(tmp_path, capsys)


@pytest.fixture
def use_keys(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put keys into the environment and return the fields that name them."""
    return lambda keys, name="S3": set_keys(monkeypatch, keys, name)


def set_keys(monkeypatch: pytest.MonkeyPatch, keys: S3Keys, name: str) -> dict[str, str]:
    values = {"access_key": keys.access_key, "secret_key": keys.secret_key, "session_token": keys.session_token}
    for part, value in values.items():
        if value is not None:
            monkeypatch.setenv(f"{name}_{part.upper()}", value)
    return {f"{part}_env": f"{name}_{part.upper()}" for part, value in values.items() if value is not None}


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Let nobody wait between two tries of a request."""
    with stamina.set_testing(True, attempts=5, cap=True):
        yield
