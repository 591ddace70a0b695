"""One blob's unfinished blocks: staged in any order, committed together, told from other writers' by their ids."""

from __future__ import annotations

import hashlib
import secrets
import threading
from typing import TYPE_CHECKING, Any, Final

from azure.storage.blob import BlobBlock, BlobClient, ContentSettings

from rivet_azure.container import READ, WRITE, conditions_of
from rivet_azure.errors import BlockIdLength, BlocksGone
from rivet_core.api import (
    Condition,
    DestinationError,
    IfAbsent,
    IntegrityError,
    NotFound,
    ObjectInfo,
    PreconditionFailed,
)

if TYPE_CHECKING:
    from rivet_azure.container import Container

_NUMBER_DIGITS: Final = 5
_ID_LENGTH: Final = 32
#: Eight random hex digits are enough to tell the writers of one name apart.
_SHORTEST_ID: Final = _NUMBER_DIGITS + 8


def store(container: Container, key: str, data: bytes, condition: Condition | None, *, part: bool) -> ObjectInfo:
    """Store a blob in one request, or in one block where a store takes unfinished blocks of a killed run for a blob.

    Args:
        part: it is data, and belongs into the tier of data.
    """
    try:
        return container.put(key, data, condition, part=part)
    except PreconditionFailed:
        if not isinstance(condition, IfAbsent) or container.head(key) is not None:
            raise
    blocks = Blocks(container, key, verify=True)
    blocks.stage(1, data, stop=threading.Event())
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return blocks.commit([1], len(data), md5, if_absent=True, part=part)


class Blocks:
    """The blocks of one writer; staged from several threads.

    The service keeps unfinished blocks by the blob's name, not by the writer, and wants the ids of one blob to be of
    one length. So every id begins with the writer's own random token; and where somebody has left blocks with ids of
    another length, ours take that length.

    Args:
        container: the prefix.
        key: the object.
        verify: send every block with its MD5.
    """

    def __init__(self, container: Container, key: str, *, verify: bool) -> None:
        self._container = container
        self._key = key
        self._verify = verify
        self._token = _token(_ID_LENGTH)
        self._adapting = threading.Lock()

    def stage(self, number: int, data: bytes, *, stop: threading.Event) -> None:
        """Send one block.

        Args:
            stop: when it is set, no further try starts.

        Raises:
            IntegrityError: other bytes have arrived.
        """
        token = self._token
        try:
            self._stage(self._id(number), data, stop)
        except BlockIdLength:
            self._adapt(token)
            try:
                self._stage(self._id(number), data, stop)
            except BlockIdLength as error:  # they are no text, whose length the SDK does not show
                raise self._foreign(error.message) from None

    def commit(
        self, numbers: list[int], size_bytes: int, md5: bytes | None, *, if_absent: bool, part: bool = True
    ) -> ObjectInfo:
        """Make the blob of these blocks visible, and prove that it is what was written.

        Args:
            part: it is data, and belongs into the tier of data.

        Raises:
            PreconditionFailed: another writer's blob is at the key.
            BlocksGone: the blocks are not there any more, and no other blob is.
            IntegrityError: the blob has another size or MD5.
        """
        ids = [self._id(number) for number in numbers]
        settings = ContentSettings(content_md5=bytearray(md5)) if md5 else None
        conditions = conditions_of(IfAbsent() if if_absent else None)
        options = self._container.options(tier=part)

        def call(blob: BlobClient) -> ObjectInfo:
            answer: Any = blob.commit_block_list(
                [BlobBlock(block_id) for block_id in ids],
                content_settings=settings,
                validate_content=True,
                **conditions,
                **options,
            )
            return self._container.info(self._key, size_bytes, answer["etag"], answer["last_modified"], md5)

        action = self._container.action("write", self._key, WRITE)
        try:
            info = self._container.write_request(action, self._key, call, lambda: self._look(ids))
        except (BlocksGone, BlockIdLength) as error:
            if if_absent and self._container.head(self._key) is not None:
                raise PreconditionFailed(f"{error.message}: somebody else has written it meanwhile") from None
            raise
        self._prove(info, size_bytes, md5)
        return info

    def _prove(self, info: ObjectInfo, size_bytes: int, md5: bytes | None) -> None:
        found = self._container.head(self._key)
        if found is None or found.version != info.version:
            return  # replaced since, which is no fault of this upload
        same_md5 = md5 is None or found.checksums.get("md5", md5.hex()) == md5.hex()
        if found.size_bytes != size_bytes or not same_md5:
            raise IntegrityError(
                f"{self._container.uri}{self._key} has {found.size_bytes} bytes, {size_bytes} were written",
                hint="nothing was published; run the export again",
            )

    def _look(self, ids: list[str]) -> ObjectInfo | None:
        """Return the blob at the key if it is made of these very blocks."""
        action = self._container.action("read", self._key, READ)
        try:
            committed, _ = self._container.blob_request(
                action, self._key, lambda blob: blob.get_block_list("committed")
            )
        except NotFound:
            return None
        return self._container.head(self._key) if [block.id for block in committed] == ids else None

    def _stage(self, block_id: str, data: bytes, stop: threading.Event) -> None:
        self._container.blob_request(
            self._container.action("write", self._key, WRITE),
            self._key,
            lambda blob: blob.stage_block(
                block_id, data, length=len(data), validate_content=self._verify, **self._container.scope()
            ),
            stop=stop,
        )

    def _id(self, number: int) -> str:
        return f"{self._token}{number:0{_NUMBER_DIGITS}}"

    def _adapt(self, token: str) -> None:
        """Take the length of the ids that are there already.

        Args:
            token: the one that was refused; another thread may have replaced it by now.
        """
        with self._adapting:
            if self._token == token:
                self._token = _token(self._length_in_use())

    def _length_in_use(self) -> int:
        action = self._container.action("write", self._key, WRITE)

        def lengths(blob: BlobClient) -> set[int]:
            committed, unfinished = blob.get_block_list("all")
            return {len(block.id) for block in unfinished or committed} or {_ID_LENGTH}

        found = self._container.blob_request(action, self._key, lengths)
        if len(found) != 1 or min(found) < _SHORTEST_ID:
            raise self._foreign(f"cannot {action.text}")
        return min(found)

    @staticmethod
    def _foreign(what: str) -> DestinationError:
        return DestinationError(
            f"{what}: another program has left unfinished blocks there",
            hint="the service removes them a week after the last one, or when a blob of that name is written",
        )


def _token(id_length: int) -> str:
    """Return random text that fills an id up to its number."""
    length = id_length - _NUMBER_DIGITS
    return secrets.token_hex((length + 1) // 2)[:length]
