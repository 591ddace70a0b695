"""What ``rivet doctor`` prints about a container and the login, beside the core's own probe of an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from azure.storage.blob import ContainerClient

from rivet_azure.container import LIST
from rivet_azure.errors import LARGEST_SKEW, Action, skew_of
from rivet_core.api import Check, RivetError

if TYPE_CHECKING:
    from rivet_azure.container import Container
    from rivet_azure.sas import Sas

#: A login that is over sooner may end before the run.
SHORT: Final = timedelta(minutes=60)
#: What each letter of a shared access signature is needed for; `w` alone allows to create, too.
_LETTERS: Final = {"r": "reading", "w": "writing", "l": "listing", "d": "deleting"}


def check_all(container: Container) -> Iterator[Check]:
    """Yield every check; what needs the container is left out where it cannot be reached."""
    try:
        session = container.login.session()
    except RivetError as error:
        yield Check("identity", "failed", error.message, error.hint or "log in again")
        return
    yield _identity(container)
    if session.sas is not None and session.sas.permissions is not None:
        yield _permissions(session.sas)
    try:
        headers = _reach(container)
    except RivetError as error:
        yield Check("container", "failed", error.message, error.hint or "check endpoint and network")
        return
    yield Check("container", "ok", f"{container.config.bucket} answers at {container.endpoint}")
    yield _clock(headers)
    yield _unfinished(container)


def _identity(container: Container) -> Check:
    identity, expiry = container.login.identity, container.login.expiry()
    if expiry is None:
        return Check("identity", "ok", identity)
    message = f"{identity}, valid until {expiry:%Y-%m-%d %H:%M} UTC"
    if expiry - datetime.now(UTC) < SHORT:
        hint = (
            "a run that takes longer needs sas_token_file and somebody who replaces that file, or an identity of Entra"
        )
        return Check("identity", "warning", message, hint)
    return Check("identity", "ok", message)


def _permissions(sas: Sas) -> Check:
    missing = [f"{use} ({letter})" for letter, use in _LETTERS.items() if letter not in (sas.permissions or "")]
    message = f"the signature allows {sas.permissions}"
    if missing:
        return Check("permissions", "warning", f"{message}, not {', '.join(missing)}", "ask for one with sp=rcwld")
    return Check("permissions", "ok", message)


def _reach(container: Container) -> Mapping[str, str]:
    """List one blob and return the headers of the answer."""
    headers: dict[str, str] = {}

    def call(client: ContainerClient) -> None:
        def remember(answer: Any) -> None:
            headers.update({name.lower(): value for name, value in answer.http_response.headers.items()})

        next(
            client.list_blobs(name_starts_with=container.config.prefix, results_per_page=1, raw_response_hook=remember),
            None,
        )

    container.request(Action(f"list {container.uri}", container.endpoint, LIST), call)
    return headers


def _clock(headers: Mapping[str, str]) -> Check:
    skew = skew_of(headers)
    seconds = f"{skew.total_seconds():.0f} s"
    if skew < LARGEST_SKEW / 2:
        return Check("clock", "ok", f"within {seconds} of the service's")
    return Check(
        "clock",
        "warning" if skew < LARGEST_SKEW else "failed",
        f"{seconds} off the service's",
        "set this machine's clock (NTP): beyond 15 minutes the service refuses every request",
    )


def _unfinished(container: Container) -> Check:
    """Say what killed runs have left, and when the service removes it."""

    def names(client: ContainerClient, *include: str) -> set[str]:
        return {blob.name for blob in client.list_blobs(name_starts_with=container.config.prefix, include=[*include])}

    def call(client: ContainerClient) -> int:
        return len(names(client, "uncommittedblobs") - names(client))

    name = "unfinished uploads"
    try:
        count = container.request(Action(f"list {container.uri}", container.endpoint, LIST), call)
    except RivetError as error:
        return Check(name, "skipped", error.message, error.hint)
    if not count:
        return Check(name, "ok", "none; the service removes those of killed runs after a week")
    return Check(
        name, "ok", f"{count} of running or killed exports; the service removes each a week after its last block"
    )
