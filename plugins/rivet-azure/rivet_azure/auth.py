"""The auth resolvers: account keys, shared access signatures, connection strings and identities of Microsoft Entra."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rivet_azure.connection_string import parse_connection_string
from rivet_azure.sas import Sas
from rivet_core.api import ConfigError, Credential, CredentialsExpired, NativeAuth, Secret
from rivet_core.api.providers import RefreshingProvider, StaticProvider, secret_from_environment

_RENEW: Final = "get a new one from whoever signs them, and run the command again"


def account_key(fields: Mapping[str, object], destination_type: str) -> StaticProvider:
    """Read a key of the storage account from the environment, once.

    Raises:
        ConfigError: the variable is not set, or holds no key.
    """
    key = secret_from_environment("account_key_env", fields["account_key_env"])
    try:
        base64.b64decode(key.reveal(), validate=True)
    except ValueError:
        raise ConfigError(
            f"account_key_env: the variable {fields['account_key_env']} holds no key of a storage account",
            hint="copy key1 or key2 from the portal, under Access keys; a shared access signature has sas_token_env",
        ) from None
    return StaticProvider(
        Credential("account_key", {"account_key": key}),
        f"the key in {fields['account_key_env']} of the account {fields['account_name']}",
    )


def sas_token(fields: Mapping[str, object], destination_type: str) -> StaticProvider | RefreshingProvider:
    """Read a shared access signature; one in a file is read again when it is over or refused.

    Raises:
        ConfigError: there is none, or two are named.
        CredentialsExpired: its time is over.
    """
    if len(fields.keys() & {"sas_token_env", "sas_token_file"}) != 1:
        raise ConfigError("set one of sas_token_env and sas_token_file", hint="keep the one that holds the token")
    if "sas_token_env" in fields:
        variable = fields["sas_token_env"]
        secret = secret_from_environment("sas_token_env", variable)
        identity = f"the shared access signature in {variable}"
        provider: StaticProvider | RefreshingProvider = StaticProvider(_sas(secret.reveal(), str(variable)), identity)
    else:
        path = Path(str(fields["sas_token_file"]))
        identity = f"the shared access signature in {path}"
        provider = RefreshingProvider(lambda: _sas(_read(path), str(path)), identity)
    provider.get()
    return provider


def connection_string(fields: Mapping[str, object], destination_type: str) -> StaticProvider:
    """Read a connection string from the environment, once.

    Raises:
        ConfigError: the variable is not set or holds no connection string.
        CredentialsExpired: the shared access signature in it is over.
    """
    variable = str(fields["connection_string_env"])
    secret = secret_from_environment("connection_string_env", variable)
    parsed = parse_connection_string(secret.reveal(), variable)
    expires_at = parsed.sas.expires_at if parsed.sas else None
    _refuse_expired(expires_at, variable)
    return StaticProvider(
        Credential("connection_string", {"connection_string": secret}, expires_at),
        f"the connection string in {variable}"
        + (f" of the account {parsed.account_name}" if parsed.account_name else ""),
    )


def service_principal(fields: Mapping[str, object], destination_type: str) -> NativeAuth:
    """Log in as an application with a client secret.

    Raises:
        ConfigError: the variable is not set, or a field is not what Microsoft Entra takes.
    """
    from azure.identity import ClientSecretCredential

    secret = secret_from_environment("client_secret_env", fields["client_secret_env"])
    credential = _build(
        ClientSecretCredential,
        tenant_id=fields["tenant_id"],
        client_id=fields["client_id"],
        client_secret=secret.reveal(),
        **_authority(fields),
    )
    return NativeAuth(credential, f"the application {fields['client_id']} of the tenant {fields['tenant_id']}")


def managed_identity(fields: Mapping[str, object], destination_type: str) -> NativeAuth:
    """Log in as the managed identity of the machine, or as the one with ``client_id``.

    Raises:
        ConfigError: ``managed_identity`` is not ``true``.
    """
    from azure.identity import ManagedIdentityCredential

    _must_be_true(fields, "managed_identity")
    client_id = fields.get("client_id")
    credential = _build(ManagedIdentityCredential, client_id=client_id)
    return NativeAuth(credential, f"the managed identity {client_id or 'of this machine'}")


def workload_identity(fields: Mapping[str, object], destination_type: str) -> NativeAuth:
    """Log in by the federated token that ``AZURE_FEDERATED_TOKEN_FILE`` names.

    Raises:
        ConfigError: ``workload_identity`` is not ``true``, or the environment says nothing of a workload.
    """
    from azure.identity import WorkloadIdentityCredential

    _must_be_true(fields, "workload_identity")
    given = {name: fields[name] for name in ("tenant_id", "client_id") if name in fields}
    credential = _build(WorkloadIdentityCredential, **given, **_authority(fields))
    return NativeAuth(credential, f"the workload identity {fields.get('client_id', 'of the environment')}")


def _sas(text: str, origin: str) -> Credential:
    sas = Sas.parse(text, origin)
    _refuse_expired(sas.expires_at, origin)
    return Credential("sas", {"sas": Secret(sas.token)}, sas.expires_at)


def _refuse_expired(expires_at: datetime | None, origin: str) -> None:
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise CredentialsExpired(
            f"the shared access signature in {origin} expired at {expires_at:%Y-%m-%d %H:%M:%S} UTC", hint=_RENEW
        )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"sas_token_file: cannot read {path}: {reason}", hint="check the path and its mode") from None


def _must_be_true(fields: Mapping[str, object], name: str) -> None:
    if fields.get(name) is not True:
        raise ConfigError(f"{name} must be true", hint="leave it out to log in another way")


def _authority(fields: Mapping[str, object]) -> dict[str, object]:
    """Return how to log in at another authority than the public cloud's, which is trusted because it is configured."""
    if "authority_host" not in fields:
        return {}
    return {"authority": fields["authority_host"], "disable_instance_discovery": True}


def _build(kind: Callable[..., Any], **arguments: object) -> Any:
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"cannot log in to Microsoft Entra: {error}", hint="check the fields of the login") from None
