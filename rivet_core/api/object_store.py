"""The configuration fields that destinations of objects over HTTP share. Needs pydantic, as ``api.fields`` does."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from rivet_core.api.errors import ConfigError
from rivet_core.api.fields import Size

_MIN_PIECE_BYTES: Final = 5 * (1 << 20)  # what S3 demands of every part but the last


def _check_prefix(prefix: str) -> str:
    """Return a prefix template that ends in ``/`` or is empty."""
    segments = prefix.removesuffix("/").split("/") if prefix else []
    if any(segment in ("", ".", "..") for segment in segments) or "\\" in prefix or "\0" in prefix:
        raise PydanticCustomError(
            "prefix",
            "must be a relative path without empty segments, '.' and '..'",
            {"hint": "write it as exports/{date}/{export}/"},
        )
    return "/".join((*segments, ""))


def _check_endpoint(endpoint: str) -> str:
    """Return the URL of a service without a trailing ``/``."""
    try:
        url = urlsplit(endpoint)
        well_formed = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        well_formed = False
    if not well_formed:
        raise PydanticCustomError("endpoint", "must be a URL", {"hint": "write it as https://storage.example.com"})
    if url.username or url.password or url.query or url.fragment:
        raise PydanticCustomError(
            "endpoint",
            "must hold no user, password, query or fragment",
            {"hint": "credentials have fields of their own"},
        )
    return endpoint.rstrip("/")


Prefix = Annotated[str, AfterValidator(_check_prefix)]
Endpoint = Annotated[str, AfterValidator(_check_endpoint)]


class ObjectStoreConfig(BaseModel):
    """The fields of every object store; a plugin adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bucket: str = Field(min_length=1, description="Name of the bucket.")
    prefix: Prefix = Field(
        default="",
        description=(
            "Prefix of the export's objects, without a leading `/`. May hold the placeholders `{date}`, `{export}`, "
            "`{table}` and `{run_id}`."
        ),
        examples=["exports/{export}/", "exports/{date}/{export}/"],
    )
    endpoint: Endpoint | None = Field(
        default=None,
        description="URL of the service, where it is not the cloud's own.",
        examples=["https://minio:9000"],
    )
    part_size: Size | None = Field(
        default=None,
        ge=_MIN_PIECE_BYTES,
        description="Size of one request of a large upload. The default follows from the memory budget.",
        examples=["16MiB"],
    )
    upload_concurrency: int = Field(default=4, ge=1, le=64, description="Requests of one upload at the same time.")
    checksum: Literal["auto", "required", "off"] = Field(
        default="auto",
        description=(
            "Whether every object is proven by the store's own checksum: `auto` where the store has one, `required` "
            "fails where it has none, `off` compares sizes only."
        ),
    )
    timeout_seconds: float = Field(
        default=60, gt=0, le=3600, description="How long one request may stay without an answer before it is repeated."
    )
    metadata: dict[str, str] = Field(default_factory=dict, description="Metadata of every object, by name.")


def refuse_plain_http(endpoint: str | None) -> None:
    """Refuse to send credentials over plain HTTP to another machine; for factories that were given a credential.

    Raises:
        ConfigError: the endpoint is ``http://`` and its host is not loopback.
    """
    url = urlsplit(endpoint or "https://")
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        raise ConfigError(
            f"endpoint {endpoint} would send credentials in plain text",
            hint="use https://, or allow_anonymous: true if the service needs no credentials",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
