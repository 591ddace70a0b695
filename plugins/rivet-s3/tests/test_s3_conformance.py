"""rivet-s3 passes the conformance kit on SeaweedFS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import stamina

from rivet_core.testing import DestinationSuite, Fault, Harness
from servers.http_proxy import HttpProxy
from servers.http_rules import Action, Answer, Exchange, LoseAnswer
from servers.seaweedfs import SeaweedFS

DENIED = Answer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
FAULTS: dict[Fault, Action] = {"denied": DENIED, "unavailable": Answer(503), "lose_answer": LoseAnswer()}


def is_first_write(exchange: Exchange) -> bool:
    """Whether a request writes an object; what the plugin tries to find out about the server does not count."""
    return exchange.method in ("PUT", "POST") and ".rivet-probe-" not in exchange.path


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
    def harness(self, seaweedfs: SeaweedFS, shared_bucket: str, raw: Any, proxy: HttpProxy, use_keys: Any) -> Harness:
        bucket = shared_bucket
        login = use_keys(seaweedfs.admin)

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
                "endpoint": seaweedfs.through(proxy.port).endpoint,
                **login,
            },
            get=get,
            put=lambda prefix, key, data: raw.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=data),
            list=list_keys,
            delete=lambda prefix, key: raw.delete_object(Bucket=bucket, Key=f"{prefix}/{key}"),
            secrets=[seaweedfs.admin.secret_key],
            faults=lambda fault: faults(proxy, fault),
        )
