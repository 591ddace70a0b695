"""One resumable upload: a session at the service that takes an object's bytes in order and answers for each byte.

Follows https://cloud.google.com/storage/docs/performing-resumable-uploads. The SDK's own uploaders tell neither the
generation nor the checksum of the result, and cannot be aborted.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import google_crc32c
import requests
from google.api_core.exceptions import from_http_response

from rivet_core.api import NotFound, ObjectInfo, PreconditionFailed, RivetError, Transient, register_secret, retry
from rivet_gcs.bucket import digest
from rivet_gcs.config import CHUNK_BYTES
from rivet_gcs.errors import google_errors

if TYPE_CHECKING:
    import threading

    from rivet_gcs.bucket import Bucket

_INCOMPLETE: Final = HTTPStatus.PERMANENT_REDIRECT  # the service uses 308 in a sense of its own
_RANGE: Final = re.compile(r"bytes=0-(\d+)")
_ABORT_SECONDS: Final = 10.0


class ResumableUpload:
    """Sends one object in pieces, one after the other; used by one thread at a time.

    Args:
        bucket: where to.
        key: of the object.
        if_absent: fail if there is an object already, now or at the end.
        stop: when it is set, no request is repeated any more.
    """

    def __init__(self, bucket: Bucket, key: str, *, if_absent: bool, stop: threading.Event) -> None:
        self._bucket = bucket
        self._key = key
        self._stop = stop
        self._action = bucket.action("write", key, "storage.objects.create")
        self._confirmed = 0
        self._crc = 0
        blob = bucket.new_blob(key)
        # A session whose address was lost expires by itself; only the end of an upload makes an object.
        self._address: str = bucket.request(
            replace(self._action, needs_bucket=True),
            lambda: blob.create_resumable_upload_session(
                content_type=blob.content_type,
                if_generation_match=0 if if_absent else None,
                timeout=bucket.config.timeout_seconds,
                checksum=None,
                retry=None,
            ),
            stop=stop,
        )
        # Whoever knows the address may write.
        register_secret(parse_qs(urlsplit(self._address).query).get("upload_id", [self._address])[0])

    def send(self, piece: bytes) -> None:
        """Send the next piece, which is not the last one: a multiple of 256 KiB.

        Raises:
            Transient: the upload is lost.
        """
        self._crc = google_crc32c.extend(self._crc, piece)
        self._transfer(piece, total=None)

    def finish(self, piece: bytes) -> ObjectInfo:
        """Send the last piece, which makes the object, and prove that it holds what was sent.

        Raises:
            PreconditionFailed: opened with ``if_absent``, and another writer's object is there.
            Transient: the outcome is unknown.
            IntegrityError: the service has stored something else; that was deleted again.
        """
        self._crc = google_crc32c.extend(self._crc, piece)
        total = self._confirmed + len(piece)
        info = self._transfer(piece, total=total)
        if info is None:
            raise AssertionError("the last piece is confirmed by the object's description")
        self._bucket.prove(info, total, self._crc)
        return info

    def cancel(self) -> None:
        """Let the service forget the upload. What it does not hear expires after a week. Raises nothing."""
        with suppress(RivetError), google_errors(self._action):
            timeout = min(_ABORT_SECONDS, self._bucket.config.timeout_seconds)
            self._bucket.session.delete(self._address, timeout=timeout)  # answers 499, or 404 when it is over

    def _transfer(self, piece: bytes, total: int | None) -> ObjectInfo | None:
        """Send a piece until the service has confirmed all of it; return the object if that was the last one."""
        begin = self._confirmed
        lost = False

        def once() -> ObjectInfo | None:
            nonlocal lost
            try:
                if lost:
                    done = self._put(b"", f"bytes */{'*' if total is None else total}", begin)
                    lost = False
                    if done is not None:
                        return done
                while (skip := self._confirmed - begin) < len(piece):
                    if done := self._put(piece[skip:], self._range(len(piece) - skip, total), begin, final=total):
                        return done
                    if self._confirmed - begin <= skip:
                        raise Transient(f"cannot {self._action.text}: the service keeps none of what it is sent")
            except Transient:
                lost = True
                raise
            return None

        try:
            return retry(once, stop=self._stop)
        except (PreconditionFailed, NotFound, Transient) as error:
            found = self._bucket.find(self._key, total, digest(self._crc)) if total is not None else None
            # Without a lost answer only another writer can have written what is there.
            if found is not None and (lost or isinstance(error, NotFound)):
                return found
            if isinstance(error, NotFound):
                raise Transient(
                    f"cannot {self._action.text}: the service has forgotten the upload",
                    hint="run the export again",
                ) from error
            raise

    def _range(self, size: int, total: int | None) -> str:
        return f"bytes {self._confirmed}-{self._confirmed + size - 1}/{'*' if total is None else total}"

    def _put(self, data: bytes, content_range: str, begin: int, final: int | None = None) -> ObjectInfo | None:
        """Send one request of the session, note what is confirmed, and return the object if it is complete.

        Raises:
            NotFound: the session is gone, or has lost bytes that it had confirmed.
        """
        headers = {"Content-Range": content_range}
        if final is not None and self._bucket.config.checksum != "off":
            headers["x-goog-hash"] = f"crc32c={base64.b64encode(self._crc.to_bytes(4, 'big')).decode()}"
        with google_errors(self._action):
            answer: requests.Response = self._bucket.session.put(
                self._address,
                data=data,
                headers=headers,
                timeout=self._bucket.config.timeout_seconds,
                allow_redirects=False,
            )
            if answer.status_code == _INCOMPLETE:
                stored = _RANGE.fullmatch(answer.headers.get("Range", ""))
                # What is sent again is ignored, and gcp-storage-emulator says 0-0 when it has nothing.
                self._confirmed = (int(stored[1]) + 1) // CHUNK_BYTES * CHUNK_BYTES if stored else 0
                if self._confirmed < begin:
                    raise NotFound(f"{self._action.text}: bytes that were confirmed are gone")
                return None
            if answer.status_code not in (HTTPStatus.OK, HTTPStatus.CREATED):
                raise from_http_response(answer)  # type: ignore[no-untyped-call]  # google-api-core is half typed
            return self._described(answer)

    def _described(self, answer: requests.Response) -> ObjectInfo:
        """Return the object that the last answer describes.

        Raises:
            Transient: the answer is none; the outcome is decided by looking.
        """
        try:
            resource: dict[str, Any] = answer.json()
            updated = datetime.fromisoformat(resource["updated"]) if "updated" in resource else None
            return self._bucket.describe(
                self._key, resource["size"], resource["generation"], resource.get("crc32c"), updated
            )
        except (ValueError, LookupError, TypeError) as error:
            raise Transient(f"cannot {self._action.text}: the answer makes no sense") from error
