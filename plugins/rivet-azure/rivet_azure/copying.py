"""Copies a blob inside the service: any size, one version of it, never over another blob, and verified."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from azure.core import MatchConditions
from azure.storage.blob import BlobClient, ContainerClient, StandardBlobTier

from rivet_azure.container import READ, conditions_of
from rivet_azure.errors import Action, SourceChanged
from rivet_core.api import (
    DestinationError,
    IfAbsent,
    IntegrityError,
    NotFound,
    ObjectInfo,
    PreconditionFailed,
)

if TYPE_CHECKING:
    from rivet_azure.container import Container

_FIRST_WAIT_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 5.0
_PERMISSIONS: Final = "`r`, `c` and `w` in its shared access signature, or the role Storage Blob Data Contributor"


def copy_blob(container: Container, source: ObjectInfo, target: str) -> ObjectInfo:
    """Copy ``source`` to the key ``target`` and return when that is finished and verified.

    Metadata and MD5 are the source's; the tier and the tags, which the service does not copy, are the configuration's.

    Raises:
        NotFound: the source is gone or has another version.
        PreconditionFailed: there is a blob at ``target``.
        IntegrityError: the copy differs from the source; it was removed.
    """
    action = Action(f"copy {container.uri}{source.key} to {container.uri}{target}", container.endpoint, _PERMISSIONS)
    options: dict[str, Any] = {
        "source_etag": f'"{source.version}"',
        "source_match_condition": MatchConditions.IfNotModified,
        **conditions_of(IfAbsent()),
    }
    if container.config.tags:
        options["tags"] = dict(container.config.tags)
    if container.config.access_tier:
        options["standard_blob_tier"] = StandardBlobTier(container.config.access_tier)
    tries = 0

    def start(client: ContainerClient) -> None:
        nonlocal tries
        tries += 1
        # The URL of the client that makes the request holds its shared access signature, which the source needs, too.
        url = client.get_blob_client(container.name(source.key)).url
        client.get_blob_client(container.name(target)).start_copy_from_url(_signed(url, container), **options)

    try:
        container.request(action, start)
    except (SourceChanged, NotFound):
        raise NotFound(f"{container.uri}{source.key} is gone or was changed") from None
    except PreconditionFailed:
        current = container.head(source.key)
        if current is None or current.version != source.version:
            raise NotFound(f"{container.uri}{source.key} is gone or was changed") from None
        if tries == 1 or not _is_copy(container, source, target):
            raise
    return _finished(container, source, target, action)


def _signed(url: str, container: Container) -> str:
    sas = container.login.session().sas
    return url if sas is None or "?" in url else f"{url}?{sas.token}"


def _is_copy(container: Container, source: ObjectInfo, target: str) -> bool:
    """Whether the blob at ``target`` comes from this copy, whose answer was lost."""
    found = _properties(container, target)
    return str(found.copy.source or "").partition("?")[0].endswith("/" + _encoded(container, source.key))


def _encoded(container: Container, key: str) -> str:
    client = container.login.session().client
    url: str = client.get_blob_client(container.name(key)).url
    return url.partition("?")[0].rpartition(f"/{container.config.bucket}/")[2]


def _properties(container: Container, key: str) -> Any:
    def call(blob: BlobClient) -> Any:
        return blob.get_blob_properties()

    return container.blob_request(container.action("read", key, READ), key, call)


def _finished(container: Container, source: ObjectInfo, target: str, action: Action) -> ObjectInfo:
    """Wait until the copy is complete and compare it with its source."""
    wait = _FIRST_WAIT_SECONDS
    while (found := _properties(container, target)).copy.status == "pending":
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
    info = container.describe(target, found)
    if found.copy.status != "success":
        container.delete(target, info.version)
        raise DestinationError(f"cannot {action.text}: {found.copy.status}", hint="the original is left in place")
    md5 = info.checksums.get("md5")
    if info.size_bytes != source.size_bytes or md5 != source.checksums.get("md5", md5):
        container.delete(target, info.version)
        raise IntegrityError(
            f"the copy of {container.uri}{source.key} is not equal to it", hint="the original is left in place"
        )
    return info
