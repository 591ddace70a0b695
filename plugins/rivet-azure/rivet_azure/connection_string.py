"""Reads a connection string as the portal shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rivet_azure.sas import Sas
from rivet_core.api import ConfigError, Secret

_DEFAULT_SUFFIX: Final = "core.windows.net"
#: What ``UseDevelopmentStorage=true`` stands for: the account that every emulator has, with its published key.
_DEVELOPMENT: Final = {
    "AccountName": "devstoreaccount1",
    "AccountKey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "BlobEndpoint": "http://127.0.0.1:10000/devstoreaccount1",
}


@dataclass(frozen=True)
class ConnectionString:
    """What a connection string says: where, and one of a key and a shared access signature, or neither."""

    endpoint: str
    account_name: str | None
    account_key: Secret | None = field(default=None, repr=False)
    sas: Sas | None = field(default=None, repr=False)


def parse_connection_string(text: str, origin: str) -> ConnectionString:
    """Read a connection string.

    Args:
        origin: where it comes from, for messages.

    Raises:
        ConfigError: it is none, or says too little.
    """
    pairs = [pair.partition("=") for pair in text.strip().rstrip(";").split(";")]
    if not all(name and separator for name, separator, _ in pairs):
        raise _refused(origin, "holds no connection string")
    values = {name.strip(): value for name, _, value in pairs}
    if values.get("UseDevelopmentStorage") == "true":
        values = _DEVELOPMENT | values
    account, key = values.get("AccountName"), values.get("AccountKey")
    endpoint = values.get("BlobEndpoint")
    if endpoint is None and account:
        protocol = values.get("DefaultEndpointsProtocol", "https")
        endpoint = f"{protocol}://{account}.blob.{values.get('EndpointSuffix', _DEFAULT_SUFFIX)}"
    if not endpoint:
        raise _refused(origin, "holds neither AccountName nor BlobEndpoint")
    if key and not account:
        raise _refused(origin, "holds AccountKey without AccountName")
    signature = values.get("SharedAccessSignature")
    sas = Sas.parse(signature, origin) if signature and not key else None
    return ConnectionString(endpoint.rstrip("/"), account, Secret(key) if key else None, sas)


def _refused(origin: str, why: str) -> ConfigError:
    return ConfigError(
        f"{origin} {why}", hint="copy it from the portal, under Access keys: DefaultEndpointsProtocol=…;AccountName=…"
    )
