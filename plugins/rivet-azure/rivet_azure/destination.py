"""The ``azure`` destination: a prefix of a container of Azure Blob Storage, its blobs told apart by ETag."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from azure.storage.blob import ContainerClient

from rivet_azure.blocks import store
from rivet_azure.checks import SHORT, check_all
from rivet_azure.client import Login
from rivet_azure.container import LIST, Container, is_directory
from rivet_azure.copying import copy_blob
from rivet_azure.errors import Action
from rivet_azure.reader import AzureReader
from rivet_azure.sizing import Sizing
from rivet_azure.writer import AzureWriter
from rivet_core.api import Capabilities, Check, Condition, Destination, ObjectInfo
from rivet_core.api.reader import RANGE_BYTES

if TYPE_CHECKING:
    from rivet_azure.config import AzureConfig
    from rivet_core.api import DestinationContext

#: Requests beside those of the uploads: workers that look, list and read.
_OTHER_CONNECTIONS: Final = 16


def open_azure(config: AzureConfig, context: DestinationContext) -> AzureDestination:
    """Bind a destination to a prefix, whose placeholders were filled in. Sends no request to the container.

    Raises:
        ConfigError: the login cannot be used here, or would go over plain HTTP.
    """
    login = Login(config, context.auth, connections=config.upload_concurrency + _OTHER_CONNECTIONS)
    sizing = Sizing.of(context.upload_bytes, config.upload_concurrency, config.part_size)
    return AzureDestination(Container(login, config), sizing)


class AzureDestination(Destination):
    """A prefix of a container; used from several threads at once.

    Args:
        container: becomes this object's own.
        sizing: how uploads are cut.
    """

    def __init__(self, container: Container, sizing: Sizing) -> None:
        self._container = container
        self._sizing = sizing
        self._pool = ThreadPoolExecutor(container.config.upload_concurrency, thread_name_prefix="rivet-azure")
        self.uri = container.uri
        self.buffer_bytes = sizing.buffer_bytes

    def capabilities(self, claimed: Capabilities) -> Capabilities:
        """Take the checksum back where ``checksum: off`` is configured."""
        return replace(claimed, checksum=None) if self._container.config.checksum == "off" else claimed

    def warnings(self) -> Iterable[str]:
        """Say when the login is over, if that is soon."""
        expiry = self._container.login.expiry()
        if expiry is not None and expiry - datetime.now(UTC) < SHORT:
            yield f"{self._container.login.identity} expires at {expiry:%Y-%m-%d %H:%M} UTC, in less than an hour"

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        """Write an object in one request with its MD5, under an ETag condition."""
        return store(self._container, key, bytes(data), condition, part=False)

    def open_writer(self, key: str, *, if_absent: bool = True) -> AzureWriter:
        """Start a write; the service hears of it with the first full block."""
        return AzureWriter(self._container, key, if_absent=if_absent, pool=self._pool, sizing=self._sizing)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        """Open one version of an object, seekable."""
        reader = AzureReader(self._container, key, offset=offset, length=length, version=version)
        return cast(BinaryIO, io.BufferedReader(reader, RANGE_BYTES))

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object by its properties."""
        return self._container.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects in the order of their names; each page is one request."""
        root = self._container.config.prefix
        action = Action(f"list {self.uri}{prefix}", self._container.endpoint, LIST)
        token: str | None = None
        while True:

            def page(client: ContainerClient, token: str | None = token) -> tuple[list[Any], str | None]:
                pages = client.list_blobs(name_starts_with=root + prefix, include=["metadata"]).by_page(token)
                return list(next(pages)), pages.continuation_token  # type: ignore[attr-defined]  # azure.core's has it

            blobs, token = self._container.request(action, page)
            for blob in blobs:
                if not is_directory(blob) and blob.name != root:
                    yield self._container.describe(blob.name.removeprefix(root), blob)
            if not token:
                return

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """Copy inside the service, pinned to the source's ETag."""
        return copy_blob(self._container, source, target)

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Delete an object, under an ETag condition."""
        self._container.delete(key, version)

    def check(self) -> Iterator[Check]:
        """Yield login, container, clock, permissions of the login, and unfinished uploads."""
        return check_all(self._container)

    def close(self) -> None:
        """Stop the threads and close the connections."""
        self._pool.shutdown()
        self._container.login.close()
