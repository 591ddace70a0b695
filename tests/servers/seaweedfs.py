"""A private SeaweedFS: S3 with signatures, several identities and temporary credentials."""

from __future__ import annotations

import base64
import json
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from servers.process import HOST, find_installed, free_ports, private_directory, running
from servers.s3 import S3Keys, S3Server

ROLE = "arn:aws:iam::role/tests"

# One process is a whole cluster, and every part of it listens. Ports left to the program are other ports plus 10000,
# which may not exist.
INNER_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
    "s3.port.grpc",
)

OPTIONS = (
    f"-ip={HOST}",
    f"-ip.bind={HOST}",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
    "-master.electionTimeout=1s",
    "-master.telemetry=false",
)


@dataclass(frozen=True, kw_only=True)
class SeaweedFS(S3Server):
    """A running SeaweedFS.

    Attributes:
        reader: keys that may list and read every bucket, and write nothing.
        scoped: keys that may list, read and write ``scoped_bucket`` and nothing else.
        scoped_bucket: a bucket that exists.
    """

    reader: S3Keys
    scoped: S3Keys
    scoped_bucket: str

    def assume_role(self, seconds: int = 900) -> S3Keys:
        """Return temporary keys that may do everything with objects for so long (900 s is the least)."""
        client = self.client(service="sts")
        try:
            answer = client.assume_role(RoleArn=ROLE, RoleSessionName="tests", DurationSeconds=seconds)
        finally:
            client.close()
        return S3Keys.of_answer(answer["Credentials"])


@contextmanager
def seaweedfs_server() -> Iterator[SeaweedFS]:
    """Run a new server until the block ends.

    Raises:
        ServerMissing: SeaweedFS is not installed.
    """
    program = find_installed("SeaweedFS", "servers", "bin/weed")
    server = SeaweedFS(
        port=0, admin=S3Keys.new(), reader=S3Keys.new(), scoped=S3Keys.new(), scoped_bucket="scoped-bucket"
    )
    with private_directory("seaweedfs") as directory:
        _write(directory / "s3.json", _identities(server))
        _write(directory / "iam.json", _roles())
        inner: list[int] = []

        def command(port: int) -> list[str]:
            inner[:] = free_ports(len(INNER_PORTS))
            return [
                str(program),
                f"-logdir={directory}",
                "mini",
                f"-dir={directory / 'data'}",
                f"-s3.config={directory / 's3.json'}",
                f"-s3.iam.config={directory / 'iam.json'}",
                f"-s3.port={port}",
                *(f"-{name}={number}" for name, number in zip(INNER_PORTS, inner, strict=True)),
                *OPTIONS,
            ]

        try:
            with running(
                command,
                lambda port: server.through(port).answers(),
                directory / "log",
                stop_signal=signal.SIGKILL,  # a clean end takes four seconds, and nothing is kept
            ) as port:
                inner.append(port)
                server = replace(server, port=port)
                server.create_bucket(server.scoped_bucket)
                yield server
        finally:
            for socket in (path for number in inner for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock")):
                socket.unlink(missing_ok=True)


def _identities(server: SeaweedFS) -> dict[str, Any]:
    bucket = server.scoped_bucket
    allowed = {
        "admin": (server.admin, ["Admin", "Read", "List", "Tagging", "Write"]),
        "reader": (server.reader, ["Read", "List"]),
        "scoped": (server.scoped, [f"Read:{bucket}", f"List:{bucket}", f"Tagging:{bucket}", f"Write:{bucket}"]),
    }
    return {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
                "actions": actions,
            }
            for name, (keys, actions) in allowed.items()
        ]
    }


def _roles() -> dict[str, Any]:
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}
    objects = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*", "arn:aws:s3:::*/*"]}
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "tests",
            "signingKey": base64.b64encode(secrets.token_bytes(32)).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [
            {
                "roleName": ROLE.rpartition("/")[2],
                "roleArn": ROLE,
                "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
                "attachedPolicies": ["objects"],
            }
        ],
        "policies": [{"name": "objects", "document": {"Version": "2012-10-17", "Statement": [objects]}}],
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
