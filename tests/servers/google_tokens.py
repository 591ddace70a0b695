"""Google's services that hand out access tokens, on loopback: OAuth, STS and a machine's metadata server."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from servers.certificate import Certificate
from servers.http_rules import Exchange
from servers.process import HOST

EMAIL = "exporter@test-project.iam.gserviceaccount.com"
OAUTH_HOST = "oauth2.googleapis.com"
SUBJECT_TOKEN = "subject-token-of-another-cloud"
_METADATA_FLAVOR = {"Metadata-Flavor": "Google"}


@dataclass
class TokenService:
    """Issues tokens to whoever proves the right identity, and knows which ones are good.

    Attributes:
        port: of the service, on loopback.
        lifetime: seconds that a token is said to live.
        issued: how often each kind of proof was accepted.
        refusal: the OAuth error that every request is answered with, if there is one.
    """

    port: int = 0
    lifetime: int = 3600
    issued: dict[str, int] = field(default_factory=dict)
    refusal: dict[str, str] | None = None
    refresh_token: str = field(default_factory=lambda: f"refresh-{secrets.token_hex(8)}")
    client_secret: str = field(default_factory=lambda: f"client-{secrets.token_hex(8)}")
    _good: set[str] = field(default_factory=set)
    _key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    @property
    def url(self) -> str:
        """Where tokens are asked for."""
        return f"http://{HOST}:{self.port}/token"

    @property
    def private_key(self) -> str:
        """The service account's key, PEM."""
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self._key.private_bytes(serialization.Encoding.PEM, *form).decode()

    def service_account(self) -> dict[str, object]:
        """Return the content of a service account's file."""
        return {
            "type": "service_account",
            "project_id": "test-project",
            "private_key_id": "1",
            "private_key": self.private_key,
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": self.url,
        }

    def authorized_user(self) -> dict[str, object]:
        """Return the content of gcloud's file; its token comes from ``OAUTH_HOST``, whatever the file says."""
        return {
            "type": "authorized_user",
            "client_id": "cli",
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
        }

    def external_account(self, subject_file: Path) -> dict[str, object]:
        """Return the content of a file of workload identity federation; ``subject_file`` gets the foreign token."""
        subject_file.write_text(SUBJECT_TOKEN)
        return {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/o",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": self.url,
            "credential_source": {"file": str(subject_file)},
        }

    def accepts(self, exchange: Exchange) -> bool:
        """Whether a request carries a token that is good now."""
        return exchange.headers.get("authorization", "").removeprefix("Bearer ") in self._good

    def revoke(self) -> None:
        """Make every token so far a bad one."""
        self._good.clear()

    def issue(self, proof: str) -> dict[str, object]:
        """Return what a token service answers."""
        token = f"ya29.{secrets.token_hex(16)}"
        self._good.add(token)
        self.issued[proof] = self.issued.get(proof, 0) + 1
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return {
            "access_token": token,
            "expires_in": self.lifetime,
            "token_type": "Bearer",
            "issued_token_type": kind,
        }

    def judge(self, form: dict[str, str]) -> str | None:
        """Return the kind of proof that a request gives, or ``None`` if it proves nothing."""
        match form.get("grant_type", "").rpartition(":")[2]:
            case "jwt-bearer":
                public = self._key.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                )
                verified: Any = jwt
                try:
                    claims = verified.decode(form["assertion"], certs=public, audience=f"https://{OAUTH_HOST}/token")
                except ValueError:
                    return None
                return "service account" if claims["iss"] == EMAIL else None
            case "refresh_token":
                given = form.get("refresh_token"), form.get("client_secret")
                return "user" if given == (self.refresh_token, self.client_secret) else None
            case "token-exchange":
                return "workload identity" if form.get("subject_token") == SUBJECT_TOKEN else None
        return None


@contextmanager
def token_service(certificate: Certificate | None = None) -> Iterator[TokenService]:
    """Run a service until the block ends, over HTTPS if it has a certificate."""
    service = TokenService()

    class Handler(_Handler):
        tokens = service

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        if certificate is not None:
            server.socket = certificate.server_side().wrap_socket(server.socket, server_side=True)
        service.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    tokens: TokenService

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        proof = self.tokens.judge(form)
        if self.tokens.refusal is not None or proof is None:
            self._answer(400, self.tokens.refusal or {"error": "invalid_grant", "error_description": "Bad proof."})
        else:
            self._answer(200, self.tokens.issue(proof))

    def do_GET(self) -> None:
        account = "/computeMetadata/v1/instance/service-accounts/"
        path = self.path.partition("?")[0]
        if self.headers.get("Metadata-Flavor") != "Google":
            self._answer(403, {})
        elif path.endswith("/token"):
            self._answer(200, self.tokens.issue("metadata server"))
        elif path.startswith(account):
            self._answer(200, {"aliases": ["default"], "email": EMAIL, "scopes": []})
        elif path.endswith("/universe/universe-domain"):
            self._text("googleapis.com")
        elif path.endswith("/project/project-id"):
            self._text("test-project")
        else:
            self._text("computeMetadata/")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base class's name
        """Keep silent: pytest shows what matters."""

    def _answer(self, status: int, document: object) -> None:
        self._send(status, "application/json", json.dumps(document).encode())

    def _text(self, text: str) -> None:
        self._send(200, "text/plain", text.encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **_METADATA_FLAVOR}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
