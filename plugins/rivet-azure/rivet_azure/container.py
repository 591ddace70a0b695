"""Single requests about blobs under one prefix: repeated when they fail, settled by looking when an answer is lost."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from azure.core import MatchConditions
from azure.storage.blob import BlobClient, ContainerClient, ContentSettings, StandardBlobTier

from rivet_azure.client import Session
from rivet_azure.errors import Action, BlockIdLength, BlocksGone, Refused, azure_errors
from rivet_core.api import (
    Condition,
    CredentialsExpired,
    DestinationError,
    IfAbsent,
    IfVersion,
    NotFound,
    ObjectInfo,
    PermissionDenied,
    PreconditionFailed,
    Transient,
    retry,
)

if TYPE_CHECKING:
    from rivet_azure.client import Login
    from rivet_azure.config import AzureConfig

T = TypeVar("T")

READ: Final = "`r` in its shared access signature, or the role Storage Blob Data Reader"
LIST: Final = "`l` in its shared access signature, or the role Storage Blob Data Reader"
WRITE: Final = "`c` and `w` in its shared access signature, or the role Storage Blob Data Contributor"
DELETE: Final = "`d` in its shared access signature, or the role Storage Blob Data Contributor"
#: Marks a directory of an account with a hierarchical namespace, which lists them among its blobs.
_DIRECTORY_MARK: Final = "hdi_isfolder"


class Container:
    """One prefix of a container; used from several threads at once.

    Args:
        login: becomes this object's own.
        config: its prefix was filled in.
    """

    def __init__(self, login: Login, config: AzureConfig) -> None:
        self.login = login
        self.config = config
        self.endpoint = login.endpoint
        self.uri = f"az://{config.bucket}/{quote(config.prefix)}"

    def name(self, key: str) -> str:
        """Return the blob's name."""
        return self.config.prefix + key

    def action(self, verb: str, key: str, permission: str) -> Action:
        """Describe what is done to an object."""
        return Action(f"{verb} {self.uri}{key}", self.endpoint, permission)

    def request(
        self, action: Action, call: Callable[[ContainerClient], T], *, stop: threading.Event | None = None
    ) -> T:
        """Make a request until it succeeds; a login that is refused is replaced where there is another one.

        Raises:
            DestinationError: what the service, or its silence, means.
        """
        used: Session | None = None

        def once() -> T:
            nonlocal used
            used = self.login.session()
            with azure_errors(action):
                return call(used.client)

        try:
            return retry(once, renew=lambda: self.login.renew(used), stop=stop)
        except Refused as error:
            raise _explain(error, used, self.login.identity) from None

    def blob_request(
        self, action: Action, key: str, call: Callable[[BlobClient], T], *, stop: threading.Event | None = None
    ) -> T:
        """Make a request about one blob; see ``request``."""
        return self.request(action, lambda client: call(client.get_blob_client(self.name(key))), stop=stop)

    def write_request(
        self,
        action: Action,
        key: str,
        call: Callable[[BlobClient], ObjectInfo],
        look: Callable[[], ObjectInfo | None],
    ) -> ObjectInfo:
        """Make a request that writes, and settle it by looking where an answer was lost.

        Args:
            look: returns what is there if it is what ``call`` writes.

        Raises:
            PreconditionFailed: another writer's object is there.
            Transient: the outcome is not known.
        """
        tries = 0

        def counted(blob: BlobClient) -> ObjectInfo:
            nonlocal tries
            tries += 1
            return call(blob)

        try:
            return self.blob_request(action, key, counted)
        except (PreconditionFailed, BlocksGone, BlockIdLength, Transient) as error:
            if tries == 1 and not isinstance(error, Transient):
                raise  # no answer was lost: it is somebody else's object, even if it is equal
            with suppress(DestinationError):  # what matters is why the write failed
                found = look()
                if found is not None:
                    return found
            raise

    def put(self, key: str, data: bytes, condition: Condition | None, *, part: bool) -> ObjectInfo:
        """Store a blob in one request, its MD5 with it.

        Args:
            part: it is data, and belongs into the tier of data.
        """
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        action = self.action("write", key, WRITE)
        conditions = conditions_of(condition)

        def call(blob: BlobClient) -> ObjectInfo:
            answer = blob.upload_blob(
                data,
                overwrite=True,  # the conditions decide
                content_settings=ContentSettings(content_md5=bytearray(md5)),
                validate_content=True,
                **conditions,
                **self.options(tier=part),
            )
            return self.info(key, len(data), answer["etag"], answer["last_modified"], md5)

        def look() -> ObjectInfo | None:
            found = self.head(key)
            same = found is not None and found.size_bytes == len(data) and found.checksums.get("md5") == md5.hex()
            return found if same else None

        try:
            return self.write_request(action, key, call, look)
        except NotFound as error:
            if not isinstance(condition, IfVersion):
                raise
            raise PreconditionFailed(f"{error.message}: it was deleted meanwhile") from None

    def head(self, key: str) -> ObjectInfo | None:
        """Describe a blob, or return ``None``."""
        try:
            found = self.blob_request(self.action("read", key, READ), key, lambda blob: blob.get_blob_properties())
        except NotFound:
            return None
        return None if is_directory(found) else self.describe(key, found)

    def delete(self, key: str, version: str | None) -> None:
        """Delete a blob, or only this version of it."""
        conditions = conditions_of(IfVersion(version) if version else None)
        try:
            self.blob_request(
                self.action("delete", key, DELETE),
                key,
                lambda blob: blob.delete_blob(delete_snapshots="include", **conditions),
            )
        except (NotFound, PreconditionFailed):
            return

    def options(self, *, tier: bool) -> dict[str, Any]:
        """Return what the configuration asks for every blob, and for one of data its tier."""
        config = self.config
        options = self.scope()
        if config.metadata:
            options["metadata"] = dict(config.metadata)
        if config.tags:
            options["tags"] = dict(config.tags)
        if tier and config.access_tier:
            options["standard_blob_tier"] = StandardBlobTier(config.access_tier)
        return options

    def scope(self) -> dict[str, Any]:
        """Return the option that blocks take, too."""
        return {"encryption_scope": self.config.encryption_scope} if self.config.encryption_scope else {}

    def describe(self, key: str, found: Any) -> ObjectInfo:
        """Return what the SDK's properties of a blob say."""
        md5 = found.content_settings.content_md5
        return self.info(key, found.size, found.etag, found.last_modified, bytes(md5) if md5 else None)

    def info(self, key: str, size: int, etag: str, modified: datetime, md5: bytes | None) -> ObjectInfo:
        """Return an object's description in Rivet's terms."""
        checksums: Mapping[str, str] = {"md5": md5.hex()} if md5 and self.config.checksum != "off" else {}
        return ObjectInfo(key, size, version_of(etag), checksums, modified)


def conditions_of(condition: Condition | None) -> dict[str, Any]:
    """Return the SDK's arguments for a condition."""
    match condition:
        case IfAbsent():
            return {"match_condition": MatchConditions.IfMissing}
        case IfVersion(version):
            return {"etag": f'"{version}"', "match_condition": MatchConditions.IfNotModified}
    return {}


def version_of(etag: str) -> str:
    """Return an ETag without the quotes, which headers have and listings have not.

    >>> version_of('"0x8DC"') == version_of("0x8DC")
    True
    """
    return etag.strip('"')


def is_directory(found: Any) -> bool:
    """Tell a directory of an account with a hierarchical namespace from a blob."""
    return str((found.metadata or {}).get(_DIRECTORY_MARK, "")).lower() == "true"


def _explain(error: Refused, used: Session | None, identity: str) -> CredentialsExpired | PermissionDenied:
    """Say whether a login that was refused is over, or was never right."""
    expires_at = used.credential.expires_at if used and used.credential else None
    if expires_at is not None and expires_at <= datetime.now(UTC):
        return CredentialsExpired(
            f"{error.message}: {identity} expired at {expires_at:%Y-%m-%d %H:%M:%S} UTC",
            hint="get a new one and run the export again",
        )
    if used is not None and used.credential is not None and used.credential.kind == "anonymous":
        hint = "the container is not public: set the fields of a login"
    else:
        hint = (
            "check that it is whole and valid by now, belongs to this account and container, and was not revoked; and "
            "that the account's firewall lets this machine in"
        )
    return PermissionDenied(f"{error.message}: the service does not accept {identity}", hint=hint)
