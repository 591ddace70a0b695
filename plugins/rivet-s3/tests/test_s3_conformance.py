"""rivet-s3 passes the conformance kit on SeaweedFS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import stamina

from rivet_core.testing import DestinationSuite, Fault, Harness
from rivet_core.testing.destination.unit_safety import SafetyTests
from servers.http_proxy import HttpProxy
from servers.http_rules import Action, Answer, Exchange, LoseAnswer
from servers.seaweedfs import SeaweedFS

DENIED = Answer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
FAULTS: dict[Fault, Action] = {"denied": DENIED, "unavailable": Answer(503), "lose_answer": LoseAnswer()}


def is_first_write(exchange: Exchange) -> bool:
    """Whether a request writes an object; what the plugin tries to find out about the server does not count."""
    return exchange.method in ("PUT", "POST") and ".rivet-probe" not in exchange.path


@contextmanager
def faults(proxy: HttpProxy, fault: Fault) -> Iterator[None]:
    """Let the proxy misbehave, and nobody wait between two tries."""
    with stamina.set_testing(True, attempts=5, cap=True):
        if fault == "lose_answer":
            rule = proxy.on(is_first_write, FAULTS[fault])
        else:
            rule = proxy.always(lambda exchange: True, FAULTS[fault])
        yield
        proxy.forget()
        assert rule.fired


class TestSeaweedFS(DestinationSuite):
    destination = "s3"

    @pytest.fixture
    def harness(
        self,
        seaweedfs: SeaweedFS,
        shared_bucket: str,
        raw: Any,
        proxy: HttpProxy,
        use_keys: Any,
        request: pytest.FixtureRequest,
    ) -> Harness:
        server, keys, bucket = seaweedfs, seaweedfs.admin, shared_bucket
        if hasattr(SafetyTests, request.function.__name__):
            # These may ask for a fault, and look for secrets, of which session keys have one more. For the others the
            # proxy would cost as much time as the server.
            server, keys = seaweedfs.through(proxy.port), seaweedfs.assume_role()
        login = use_keys(keys)

        def get(prefix: str, key: str) -> bytes | None:
            try:
                with raw.get_object(Bucket=bucket, Key=f"{prefix}/{key}")["Body"] as body:
                    content: bytes = body.read()
            except raw.exceptions.NoSuchKey:
                return None
            return content

        def list_keys(prefix: str) -> list[str]:
            pages = raw.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
            return [item["Key"].removeprefix(f"{prefix}/") for page in pages for item in page.get("Contents", ())]

        return Harness(
            config=lambda prefix: {
                "bucket": bucket,
                "prefix": prefix,
                "endpoint": server.endpoint,
                **login,
            },
            get=get,
            put=lambda prefix, key, data: raw.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=data),
            list=list_keys,
            delete=lambda prefix, key: raw.delete_object(Bucket=bucket, Key=f"{prefix}/{key}"),
            secrets=[secret for secret in (keys.secret_key, keys.session_token) if secret],
            faults=lambda fault: faults(proxy, fault),
        )
