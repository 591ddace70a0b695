"""What a server that speaks Google Cloud Storage's JSON API gives to a test."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Self

from google.api_core.exceptions import GoogleAPIError
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import storage
from requests import RequestException

from servers.process import HOST

PROJECT = "test-project"


@dataclass(frozen=True)
class GcsServer:
    """A running server, which takes any credentials or none."""

    port: int

    @property
    def endpoint(self) -> str:
        """The URL for ``api_endpoint``."""
        return f"http://{HOST}:{self.port}"

    def client(self, credentials: Credentials | None = None) -> storage.Client:
        """Return a client to be closed; ``None`` means without credentials."""
        return storage.Client(
            project=PROJECT,
            credentials=credentials or AnonymousCredentials(),
            client_options={"api_endpoint": self.endpoint},
        )

    def create_bucket(self, name: str | None = None) -> str:
        """Create a bucket, for one test alone unless it is named, and return its name."""
        name = name or f"test-{secrets.token_hex(6)}"
        with closing(self.client()) as client:
            client.create_bucket(name, retry=None, timeout=30)
        return name

    def through(self, port: int) -> Self:
        """Return the same server as a proxy on another loopback port shows it: links in answers follow the request."""
        return replace(self, port=port)

    def answers(self) -> bool:
        """Whether the buckets can be listed now."""
        try:
            with closing(self.client()) as client:
                list(client.list_buckets(retry=None, timeout=5))
        except (GoogleAPIError, RequestException):
            return False
        return True
