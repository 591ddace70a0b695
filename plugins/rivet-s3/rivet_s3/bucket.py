"""Single requests to one bucket: repeated where that is safe, their errors translated, lost answers settled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import NotFound, ObjectInfo, PreconditionFailed, Transient, retry
from rivet_s3.errors import UploadGone, s3_errors

if TYPE_CHECKING:
    from rivet_s3.signing import Signer

#: What the owner of a requester-pays bucket wants to see in each request.
_PAYER: Final = {"RequestPayer": "requester"}
#: The request that has no such field.
_FREE: Final = "get_bucket_lifecycle_configuration"


class Bucket:
    """One bucket as a client with its login sees it; used from several threads at once.

    Args:
        client: the SDK's, which makes single requests.
        name: the bucket's.
        signer: renews the keys that the store has refused; ``None`` for anonymous requests.
        requester_pays: send the field that says so.
    """

    def __init__(self, client: Any, name: str, signer: Signer | None, *, requester_pays: bool = False) -> None:
        self.name = name
        self.endpoint: str = client.meta.endpoint_url
        self.region: str = client.meta.region_name
        self._client = client
        self._signer = signer
        self._payer = _PAYER if requester_pays else {}

    def request(self, operation: str, action: str, *, stop: threading.Event | None = None, **parameters: Any) -> Any:
        """Make a request that may be repeated, until it is answered.

        Args:
            operation: the SDK's method, such as ``head_object``.
            action: what is tried, for messages, to follow "cannot".
            stop: when it is set, the request is not repeated.
            parameters: the operation's own, without the bucket.

        Raises:
            DestinationError: the store refuses, or does not answer.
        """
        return retry(
            lambda: self._once(operation, action, parameters),
            renew=self._signer.renew if self._signer else None,
            stop=stop,
        )

    def settle(
        self, operation: str, action: str, look: Callable[[], ObjectInfo | None], **parameters: Any
    ) -> Any | ObjectInfo:
        """Make a request that creates an object, and decide a lost answer by looking.

        Args:
            operation: the SDK's method.
            action: what is tried, for messages.
            look: returns the object if it is the one that was to be created.
            parameters: the operation's own.

        Returns:
            The answer; or, where that was lost, what ``look`` has found.

        Raises:
            PreconditionFailed: the object there is another one.
            Transient: the store does not answer, or the object is not there.
        """
        unknown = False

        def attempt() -> Any:
            nonlocal unknown
            try:
                return self._once(operation, action, parameters)
            except Transient:
                unknown = True
                raise

        try:
            return retry(attempt, renew=self._signer.renew if self._signer else None)
        except (NotFound, PreconditionFailed, UploadGone, Transient) as error:
            if unknown and (found := _looked(look, error)) is not None:
                return found
            raise

    def explain(self, operation: str, action: str, **parameters: Any) -> None:
        """Make a request whose refusal has a reason, after one whose refusal had none; its answer does not matter.

        Raises:
            DestinationError: the reason.
        """
        answer = self.request(operation, action, **parameters)
        if "Body" in answer:
            answer["Body"].close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _once(self, operation: str, action: str, parameters: dict[str, Any]) -> Any:
        payer = {} if operation == _FREE else self._payer
        with s3_errors(operation, action, self.endpoint):
            return getattr(self._client, operation)(Bucket=self.name, **payer, **parameters)


def _looked(look: Callable[[], ObjectInfo | None], error: Exception) -> ObjectInfo | None:
    """Look, and raise ``error`` rather than what looking raises: the outcome is unknown still."""
    try:
        return look()
    except Transient:
        raise error from None
