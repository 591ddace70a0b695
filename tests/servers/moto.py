"""A private moto: S3, IAM and STS that check signatures, session tokens and policies as Amazon's do."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from servers.process import HOST, find_installed, private_directory, running
from servers.s3 import S3Keys, S3Server

EVERYTHING = ("*",)


@dataclass(frozen=True, kw_only=True)
class Moto(S3Server):
    """A running moto.

    Attributes:
        role: the ARN of a role that everybody may assume and that may do everything in S3.
    """

    role: str

    def create_user(self, actions: Sequence[str], resources: Sequence[str] = EVERYTHING) -> S3Keys:
        """Return the keys of a new user who may do ``actions`` (``s3:PutObject``) on ``resources`` (ARNs) alone."""
        with closing(self.client(service="iam")) as iam:
            return _create_user(iam, actions, resources)

    def assume_role(self, seconds: int = 900) -> S3Keys:
        """Return temporary keys of ``role``."""
        with closing(self.client(service="sts")) as sts:
            answer = sts.assume_role(RoleArn=self.role, RoleSessionName="tests", DurationSeconds=seconds)
        return S3Keys.of_answer(answer["Credentials"])


@contextmanager
def moto_server() -> Iterator[Moto]:
    """Run a new server until the block ends.

    It compares no checksums, ignores a stale ``If-Match`` on ``CompleteMultipartUpload`` and fails on presigned URLs.

    Raises:
        ServerMissing: moto is not installed.
    """
    program = find_installed("moto", "servers", "bin/moto_server")
    anybody = S3Keys.new()  # as long as the server checks nothing
    with (
        private_directory("moto") as directory,
        running(
            lambda port: [str(program), f"--host={HOST}", f"--port={port}"],
            lambda port: S3Server(port, anybody).answers(),
            directory / "log",
            stop_signal=signal.SIGTERM,
        ) as port,
    ):
        with closing(S3Server(port, anybody).client(service="iam")) as iam:
            server = Moto(port, _create_user(iam, EVERYTHING, EVERYTHING), role=_create_role(iam))
        _check_from_now_on(server)
        yield server


def _check_from_now_on(server: Moto) -> None:
    answer = requests.post(
        f"{server.endpoint}/moto-api/reset-auth", data="0", headers={"Content-Type": "text/plain"}, timeout=30
    )
    answer.raise_for_status()


def _create_user(iam: Any, actions: Sequence[str], resources: Sequence[str]) -> S3Keys:
    name = f"user-{secrets.token_hex(6)}"
    iam.create_user(UserName=name)
    iam.put_user_policy(
        UserName=name,
        PolicyName="allowed",
        PolicyDocument=_policy({"Action": list(actions), "Resource": list(resources)}),
    )
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return S3Keys(key["AccessKeyId"], key["SecretAccessKey"])


def _create_role(iam: Any) -> str:
    trust = _policy({"Action": "sts:AssumeRole", "Principal": {"AWS": "*"}})
    role = iam.create_role(RoleName="tests", AssumeRolePolicyDocument=trust)["Role"]
    iam.put_role_policy(
        RoleName="tests", PolicyName="allowed", PolicyDocument=_policy({"Action": "s3:*", "Resource": "*"})
    )
    return str(role["Arn"])


def _policy(allowed: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **allowed}]})
