"""Reads what a shared access signature says about itself: when it is over, and what it allows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

from rivet_core.api import ConfigError, register_secret


@dataclass(frozen=True)
class Sas:
    """A shared access signature; its text is a secret.

    Attributes:
        token: the query string without a leading ``?``.
        expires_at: end of its time; ``None`` where a stored access policy decides it.
        permissions: letters of ``sp``; ``None`` where a stored access policy decides them.
    """

    token: str
    expires_at: datetime | None
    permissions: str | None

    @classmethod
    def parse(cls, text: str, origin: str) -> Sas:
        """Read a token as the portal shows it, with or without the leading ``?``, and make the redactor know it.

        Args:
            origin: where it comes from, for messages.

        Raises:
            ConfigError: it is no shared access signature.
        """
        token = text.strip().removeprefix("?")
        fields = parse_qs(token)
        if "sig" not in fields or "sv" not in fields:
            raise ConfigError(
                f"{origin} holds no shared access signature",
                hint="it looks like sv=…&se=…&sp=…&sig=…; copy the whole token, not the URL in front of it",
            )
        register_secret(fields["sig"][0])
        end = fields.get("se", [""])[0]
        return cls(token, _moment(end, origin) if end else None, fields.get("sp", [None])[0])


def _moment(text: str, origin: str) -> datetime:
    """Return a moment as ``se`` has it: a day, or a time in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"the expiry time of the shared access signature in {origin} cannot be read", hint="ask for a new one"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
