"""What the HTTP proxy records of a request, what it can do to one, and to which ones it does that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl


@dataclass
class Exchange:
    """A request and what became of it.

    Attributes:
        headers: the client's, by lower-case name.
        body_bytes: how much of the request's body the client has sent, without the framing of chunks.
        status: of the final answer that the server gave, or the proxy in its place; ``None`` before there is one.
    """

    method: str
    target: str
    headers: dict[str, str]
    body_bytes: int = 0
    status: int | None = None

    @property
    def path(self) -> str:
        """The target's path, as it was sent."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The target's query, decoded."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


@dataclass(frozen=True)
class Answer:
    """Answer in the server's place, which is not asked."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class LoseAnswer:
    """Let the server do what was asked and read its whole answer, then reset the client's connection."""


@dataclass(frozen=True)
class ResetUpload:
    """Reset both connections (RST) after so many bytes of the request's body; shorter bodies pass."""

    after_bytes: int = 0


@dataclass(frozen=True)
class ResetAnswer:
    """Reset the client's connection (RST) after so many bytes of the answer's body; shorter bodies pass."""

    after_bytes: int = 0


@dataclass(frozen=True)
class TruncateAnswer:
    """Close the client's connection (FIN) after so many bytes of the answer's body; shorter bodies pass."""

    after_bytes: int = 0


@dataclass(frozen=True)
class BlackHole:
    """Take the request in and answer nothing while the connection stays open; the server is not asked."""


@dataclass(frozen=True)
class Delay:
    """Ask the server so many seconds later."""

    seconds: float


@dataclass(frozen=True)
class CorruptUpload:
    """Flip a bit of the request's body, in the byte after so many; shorter bodies pass."""

    after_bytes: int = 0


@dataclass(frozen=True)
class CorruptAnswer:
    """Flip a bit of the answer's body, in the byte after so many; shorter bodies pass."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Rewrite:
    """Ask the server with other headers than the client's, which come by lower-case name."""

    change: Callable[[dict[str, str]], Mapping[str, str]]


UploadFault = ResetUpload | CorruptUpload
AnswerFault = ResetAnswer | TruncateAnswer | CorruptAnswer
Action = Answer | LoseAnswer | BlackHole | Delay | Rewrite | UploadFault | AnswerFault


class Rule:
    """What the proxy does to the next requests that match.

    Args:
        action: ``None`` passes the request.

    Attributes:
        fired: how often the action took effect; a test asserts it, so that it cannot pass because nothing went wrong.
    """

    def __init__(self, matches: Callable[[Exchange], bool], action: Action | None, times: float) -> None:
        self.action = action
        self.fired = 0
        self._matches = matches
        self._times = times

    def applies(self, exchange: Exchange) -> bool:
        """Whether the exchange matches and the action is still to happen."""
        return self.fired < self._times and self._matches(exchange)

    def fire(self) -> bool:
        """Count the action, before anybody can notice it; return ``False`` if others have used it up by now."""
        if self.fired >= self._times:
            return False
        self.fired += 1
        return True


NO_RULE = Rule(lambda exchange: True, None, 0)
