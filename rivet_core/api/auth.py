"""Credentials: what an auth resolver hands to a destination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rivet_core.api.secret import Secret


@dataclass(frozen=True)
class Credential:
    """One credential, valid until it expires.

    Attributes:
        kind: ``keys``, ``token``, ``sas``, ``account_key``, ``anonymous`` or a plugin's own.
        values: the secret parts by name; what names there are depends on the kind.
        expires_at: timezone-aware, or ``None`` if the credential does not expire.
    """

    kind: str
    values: Mapping[str, Secret]
    expires_at: datetime | None = None


class Provider(Protocol):
    """A thread-safe source of credentials, asked again when one expires or is refused."""

    def get(self, *, force: bool = False) -> Credential:
        """Return a valid credential; ``force`` means that the store has refused the last one."""

    def identity(self) -> str:
        """Say who this is, for ``rivet doctor``; never a secret."""


@dataclass(frozen=True)
class NativeAuth:
    """An SDK's own refreshing credential; produced only by a resolver of the destination's own distribution."""

    sdk_object: object
    identity: str
