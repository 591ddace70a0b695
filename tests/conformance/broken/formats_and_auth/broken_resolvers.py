"""Entry module of a plugin of auth resolvers broken on purpose, each in one way, and the sound one below them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from rivet_core.api import AuthResolverSpec, ConfigError, Credential, DestinationSpec, NativeAuth, Secret
from rivet_core.hookspecs import hookimpl


class Vault:
    """The service that hands out tokens; this test's own."""

    numbers = itertools.count(1)
    path = "kv/rivet"
    token = "hvs.first-token"
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    #: The clock that the resolvers read runs ahead by so much.
    ahead = timedelta()

    @classmethod
    def rotate(cls) -> None:
        cls.token = f"hvs.token-{next(cls.numbers)}"

    @classmethod
    def expire(cls) -> None:
        cls.rotate()
        cls.ahead += timedelta(hours=2)
        cls.expires_at = datetime.now(UTC) + cls.ahead + timedelta(hours=1)


class CloudConfig(BaseModel):
    """A destination that wants a token."""

    prefix: str = ""


class SoundProvider:
    """Keeps a token until it is over or refused."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.last: Credential | None = None

    @classmethod
    def resolve(cls, fields: Mapping[str, object], destination_type: str) -> SoundProvider:
        return cls(*map(str, fields.values()))

    def get(self, *, force: bool = False) -> Credential:
        with self.lock:
            if force or self.last is None or self.is_over(self.last):
                self.last = self.fetch()
            return self.last

    def is_over(self, credential: Credential) -> bool:
        assert credential.expires_at is not None
        return credential.expires_at < datetime.now(UTC) + Vault.ahead

    def fetch(self) -> Credential:
        if self.path != Vault.path:
            raise ConfigError(f"there is nothing at {self.path}", hint="check vault_path")
        return Credential("token", {"token": self.wrap(Vault.token)}, Vault.expires_at)

    def wrap(self, token: str) -> Any:
        return Secret(token)

    def identity(self) -> str:
        return f"Vault, {self.path}"


class IgnoresForce(SoundProvider):
    def get(self, *, force: bool = False) -> Credential:
        return super().get()


class IgnoresExpiry(SoundProvider):
    def is_over(self, credential: Credential) -> bool:
        return False


class PlainText(SoundProvider):
    def wrap(self, token: str) -> Any:
        return token


class LeakyIdentity(SoundProvider):
    def identity(self) -> str:
        return f"Vault, {self.path} with {Vault.token}"


class Traceback(SoundProvider):
    def fetch(self) -> Credential:
        token = {Vault.path: Vault.token}[self.path]
        return Credential("token", {"token": self.wrap(token)}, Vault.expires_at)


class Session:
    """What an SDK would keep and refresh by itself."""

    def __init__(self, token: str) -> None:
        self.token = Secret(token)


class TalkativeSession(Session):
    """The debugging aid of an SDK."""

    def __repr__(self) -> str:
        return f"Session({self.token.reveal()})"


class SoundNative:
    """Hands on the session of an SDK."""

    session: type[Session] = Session

    @classmethod
    def resolve(cls, fields: Mapping[str, object], destination_type: str) -> object:
        (path,) = map(str, fields.values())
        if path != Vault.path:
            raise ConfigError(f"there is nothing at {path}", hint="check the path")
        return cls.hand_on(cls.session(Vault.token), path)

    @classmethod
    def hand_on(cls, session: Session, path: str) -> object:
        return NativeAuth(session, f"the session of {path}")


class NativeShowsSecret(SoundNative):
    session = TalkativeSession


class NativeHandsOnNothing(SoundNative):
    @classmethod
    def hand_on(cls, session: Session, path: str) -> object:
        return NativeAuth(None, f"the session of {path}")


class NativeNamesToken(SoundNative):
    @classmethod
    def hand_on(cls, session: Session, path: str) -> object:
        return NativeAuth(session, f"the session of {path} with {session.token.reveal()}")


RESOLVERS: dict[str, type[SoundProvider]] = {
    "sound": SoundProvider,
    "ignores-force": IgnoresForce,
    "ignores-expiry": IgnoresExpiry,
    "plain-text": PlainText,
    "leaky-identity": LeakyIdentity,
    "traceback": Traceback,
}

NATIVE: dict[str, type[SoundNative]] = {
    "sound-native": SoundNative,
    "native-shows-secret": NativeShowsSecret,
    "native-hands-on-nothing": NativeHandsOnNothing,
    "native-names-token": NativeNamesToken,
}


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    return [
        DestinationSpec(
            type="cloud",
            kind="store",
            summary="Wants a token",
            config=f"{__name__}:CloudConfig",
            factory=f"{__name__}:CloudConfig",
            accepts=frozenset({"token"}),
        )
    ]


@hookimpl
def rivet_auth_resolvers() -> list[AuthResolverSpec]:
    return [
        AuthResolverSpec(
            name=name,
            destinations=frozenset({"cloud"}),
            summary="Tokens from a vault, for tests of the tests",
            selects_on=frozenset({f"{name}_path"}),
            produces="native" if name in NATIVE else "token",
            factory=f"{__name__}:{class_.__name__}.resolve",
        )
        for name, class_ in [*RESOLVERS.items(), *NATIVE.items()]
    ]
