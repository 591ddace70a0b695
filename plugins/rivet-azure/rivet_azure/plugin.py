"""Entry module of rivet-azure: one destination, ``azure``, and its auth resolvers."""

from __future__ import annotations

from rivet_core.api import AuthResolverSpec, Capabilities, DestinationSpec
from rivet_core.hookspecs import hookimpl

_AZURE = frozenset({"azure"})
_ACCOUNT = frozenset({"account_name"})


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register the ``azure`` destination."""
    return [
        DestinationSpec(
            type="azure",
            kind="store",
            summary="Azure Blob Storage",
            config="rivet_azure.config:AzureConfig",
            factory="rivet_azure.destination:open_azure",
            capabilities=Capabilities(
                conditional_put=True,
                conditional_writer=True,
                checksum=("md5", "declared"),
                pending="self_expiring",
            ),
            accepts=frozenset({"account_key", "sas", "connection_string", "anonymous"}),
            place=frozenset({"bucket", "account_name", "endpoint"}),
        )
    ]


@hookimpl
def rivet_auth_resolvers() -> list[AuthResolverSpec]:
    """Register the ways to log in to Azure Blob Storage."""
    return [
        AuthResolverSpec(
            name="azure-account-key",
            destinations=_AZURE,
            summary="A key of the storage account, from the environment",
            selects_on=frozenset({"account_key_env"}),
            requires=_ACCOUNT,
            produces="account_key",
            factory="rivet_azure.auth:account_key",
        ),
        AuthResolverSpec(
            name="azure-sas",
            destinations=_AZURE,
            summary="A shared access signature, from the environment or from a file that may be replaced",
            selects_on=frozenset({"sas_token_env", "sas_token_file"}),
            requires=_ACCOUNT,
            files=frozenset({"sas_token_file"}),
            produces="sas",
            factory="rivet_azure.auth:sas_token",
        ),
        AuthResolverSpec(
            name="azure-connection-string",
            destinations=_AZURE,
            summary="A connection string, from the environment",
            selects_on=frozenset({"connection_string_env"}),
            produces="connection_string",
            factory="rivet_azure.auth:connection_string",
        ),
        AuthResolverSpec(
            name="azure-service-principal",
            destinations=_AZURE,
            summary="An application of Microsoft Entra ID with a client secret",
            selects_on=frozenset({"client_secret_env"}),
            requires=frozenset({"tenant_id", "client_id"}),
            optional=_ACCOUNT | {"authority_host"},
            produces="native",
            factory="rivet_azure.auth:service_principal",
        ),
        AuthResolverSpec(
            name="azure-managed-identity",
            destinations=_AZURE,
            summary="The managed identity of the machine or the app",
            selects_on=frozenset({"managed_identity"}),
            optional=_ACCOUNT | {"client_id"},
            produces="native",
            factory="rivet_azure.auth:managed_identity",
        ),
        AuthResolverSpec(
            name="azure-workload-identity",
            destinations=_AZURE,
            summary="A federated token, as Kubernetes gives it to a pod",
            selects_on=frozenset({"workload_identity"}),
            optional=_ACCOUNT | {"tenant_id", "client_id", "authority_host"},
            produces="native",
            factory="rivet_azure.auth:workload_identity",
        ),
        AuthResolverSpec(
            name="azure-anonymous",
            destinations=_AZURE,
            summary="No credentials, for public containers",
            selects_on=frozenset({"allow_anonymous"}),
            optional=_ACCOUNT,
            produces="anonymous",
            factory="rivet_core.api.providers:anonymous",
        ),
    ]
