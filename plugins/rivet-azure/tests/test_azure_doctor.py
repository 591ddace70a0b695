"""What ``rivet doctor`` says about a container and the login."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from azure.storage.blob import ContainerClient

from rivet_azure.destination import AzureDestination
from rivet_core.api import Check, providers
from servers.http_proxy import HttpProxy
from servers.http_rules import Answer

pytestmark = pytest.mark.usefixtures("impatient")

Open = Callable[..., AzureDestination]


def checks(destination: AzureDestination) -> dict[str, Check]:
    return {check.name: check for check in destination.check()}


def test_a_healthy_container(open_at: Open, container: ContainerClient) -> None:
    found = checks(open_at())
    assert {check.status for check in found.values()} == {"ok"}
    assert found.keys() == {"identity", "container", "clock", "unfinished uploads"}
    assert found["identity"].message == "the account's key"
    assert container.container_name in found["container"].message


def test_uploads_of_killed_runs_are_counted(open_at: Open) -> None:
    destination = open_at(part_size="1MiB")
    with destination.open_writer("part") as writer:
        writer.write(os.urandom(3_000_000))
        writer.abort()
    destination.put("another", b"x")
    unfinished = checks(destination)["unfinished uploads"]
    assert unfinished.status == "ok"
    assert unfinished.message.startswith("1 of running or killed exports")
    assert "a week" in unfinished.message


@pytest.mark.parametrize(("minutes", "status"), [(1, "ok"), (10, "warning"), (60, "failed"), (-60, "failed")])
def test_a_clock_that_is_off(open_at: Open, proxy: HttpProxy, minutes: int, status: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    empty = b'<?xml version="1.0"?><EnumerationResults><Blobs/><NextMarker/></EnumerationResults>'
    rule = proxy.always(lambda exchange: True, Answer(200, {"Date": date, "Content-Type": "application/xml"}, empty))
    clock = checks(open_at(proxy.port))["clock"]
    assert rule.fired
    assert clock.status == status
    assert status == "ok" or "NTP" in clock.hint


def test_there_is_no_container(open_at: Open) -> None:
    found = checks(open_at(bucket="nowhere"))
    assert found["container"].status == "failed"
    assert "create the container" in found["container"].hint
    assert "clock" not in found


def test_the_login_is_not_let_in(open_at: Open) -> None:
    container = checks(open_at(auth=providers.anonymous({"allow_anonymous": True}, "azure")))["container"]
    assert container.status == "failed"
    assert "set the fields of a login" in container.hint


def test_nobody_answers(open_at: Open) -> None:
    with HttpProxy(0) as proxy:
        port = proxy.port
    container = checks(open_at(port))["container"]
    assert container.status == "failed"
    assert f"cannot connect to http://127.0.0.1:{port}" in container.message
