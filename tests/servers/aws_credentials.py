"""The services that hand out temporary AWS keys, on loopback: SSO portal, container, instance metadata and STS."""

from __future__ import annotations

import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from urllib.parse import parse_qs

from servers.process import HOST
from servers.s3 import S3Keys

ROLE = "exporter"
CONTAINER_PATH = "/container"
_METADATA = "/latest/meta-data/iam/security-credentials/"


@dataclass
class CredentialService:
    """Hands out keys that a store has issued to whoever shows the right token.

    Args:
        keys: handed out in turn, over and over.

    Attributes:
        port: of the service, on loopback.
        valid: how long the keys are said to be good for.
        token: what proves the right to keys.
        refresh_token: what the SSO portal gives a new ``token`` for.
        refused: whether every proof is a bad one from now on.
        answered: how often each service has handed something out.
    """

    keys: Sequence[S3Keys]
    port: int = 0
    valid: timedelta = timedelta(hours=1)
    token: str = field(default_factory=lambda: f"token-{secrets.token_hex(8)}")
    refresh_token: str = field(default_factory=lambda: f"refresh-{secrets.token_hex(8)}")
    refused: bool = False
    answered: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._turn = cycle(self.keys)

    @property
    def url(self) -> str:
        """Where the service listens."""
        return f"http://{HOST}:{self.port}"

    def hand_out(self, service: str) -> tuple[S3Keys, datetime]:
        """Return the next keys and when they are said to be over."""
        self.answered[service] += 1
        return next(self._turn), datetime.now(UTC) + self.valid

    def accepts(self, proof: str | None) -> bool:
        """Whether a token is the right one now."""
        return proof == self.token and not self.refused

    def exchange(self, refresh_token: str) -> str | None:
        """Return a new token of the SSO portal; the last one is worth nothing from now on."""
        if self.refused or refresh_token != self.refresh_token:
            return None
        self.answered["token"] += 1
        self.token = f"token-{secrets.token_hex(8)}"
        return self.token


@contextmanager
def credential_service(keys: Sequence[S3Keys]) -> Iterator[CredentialService]:
    """Run a service until the block ends."""
    running = CredentialService(keys)

    class Handler(_Handler):
        service = running

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        running.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    service: CredentialService

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/federation/credentials":
            self._sso_portal()
        elif path == CONTAINER_PATH:
            self._document("container", self.headers.get("Authorization"))
        elif path == _METADATA and self.service.accepts(self.headers.get("x-aws-ec2-metadata-token")):
            self._send(200, "text/plain", ROLE)
        elif path == _METADATA + ROLE:
            self._document("instance", self.headers.get("x-aws-ec2-metadata-token"))
        else:
            self._json(401, {})

    def do_PUT(self) -> None:
        """Give the token of IMDSv2."""
        seconds = self.headers.get("x-aws-ec2-metadata-token-ttl-seconds")
        if self.path == "/latest/api/token" and seconds:
            self._send(200, "text/plain", self.service.token)
        else:
            self._json(400, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/token":
            self._sso_token(json.loads(body))
        else:
            self._sts({name: values[0] for name, values in parse_qs(body).items()})

    def _sso_portal(self) -> None:
        """``GetRoleCredentials`` of the SSO portal."""
        if not self.service.accepts(self.headers.get("x-amz-sso_bearer_token")):
            self._json(401, {"message": "Session token not found or invalid"}, "UnauthorizedException")
            return
        keys, until = self.service.hand_out("sso")
        found = {"accessKeyId": keys.access_key, "secretAccessKey": keys.secret_key, "sessionToken": keys.session_token}
        self._json(200, {"roleCredentials": {**found, "expiration": int(until.timestamp() * 1000)}})

    def _sso_token(self, request: dict[str, str]) -> None:
        """``CreateToken`` of the SSO portal."""
        token = self.service.exchange(request["refreshToken"])
        if token is None:
            self._json(400, {"error": "invalid_grant"}, "InvalidGrantException")
        else:
            self._json(200, {"accessToken": token, "tokenType": "Bearer", "expiresIn": 3600})

    def _document(self, service: str, proof: str | None) -> None:
        """The document of containers and instances."""
        if not self.service.accepts(proof):
            self._json(401, {})
            return
        keys, until = self.service.hand_out(service)
        self._json(
            200,
            {
                "Code": "Success",
                "AccessKeyId": keys.access_key,
                "SecretAccessKey": keys.secret_key,
                "Token": keys.session_token,
                "Expiration": f"{until:%Y-%m-%dT%H:%M:%SZ}",
            },
        )

    def _sts(self, form: dict[str, str]) -> None:
        """``AssumeRoleWithWebIdentity`` of STS."""
        operation = "AssumeRoleWithWebIdentity"
        if form["Action"] != operation or not self.service.accepts(form.get("WebIdentityToken")):
            error = "<Code>ExpiredTokenException</Code><Message>Token expired: current date/time is later.</Message>"
            self._send(400, "text/xml", f"<ErrorResponse><Error>{error}</Error></ErrorResponse>")
            return
        keys, until = self.service.hand_out("sts")
        found = (
            f"<AccessKeyId>{keys.access_key}</AccessKeyId><SecretAccessKey>{keys.secret_key}</SecretAccessKey>"
            f"<SessionToken>{keys.session_token}</SessionToken><Expiration>{until:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
        )
        result = f"<{operation}Result><Credentials>{found}</Credentials></{operation}Result>"
        self._send(200, "text/xml", f"<{operation}Response>{result}</{operation}Response>")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base class's name
        """Keep silent: pytest shows what matters."""

    def _json(self, status: int, document: object, error: str | None = None) -> None:
        self._send(status, "application/json", json.dumps(document), error)

    def _send(self, status: int, kind: str, text: str, error: str | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "x-amzn-ErrorType": error}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
