"""Entry module of rivet-gcs: one destination, ``gcs``, and its auth resolvers."""

from __future__ import annotations

from rivet_core.api import AuthResolverSpec, Capabilities, DestinationSpec
from rivet_core.hookspecs import hookimpl

_GCS = frozenset({"gcs"})


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register the ``gcs`` destination."""
    return [
        DestinationSpec(
            type="gcs",
            kind="store",
            summary="Google Cloud Storage",
            config="rivet_gcs.config:GcsConfig",
            factory="rivet_gcs.destination:open_gcs",
            capabilities=Capabilities(
                conditional_put=True,
                conditional_writer=True,
                checksum=("crc32c", "verified"),
                pending="self_expiring",
            ),
            accepts=frozenset({"token", "anonymous"}),
            place=frozenset({"bucket", "endpoint"}),
        )
    ]


@hookimpl
def rivet_auth_resolvers() -> list[AuthResolverSpec]:
    """Register the ways to log in to Google Cloud Storage."""
    return [
        AuthResolverSpec(
            name="gcs-credentials-file",
            destinations=_GCS,
            summary="A credentials file of Google Cloud, such as a service account's key",
            selects_on=frozenset({"credentials_file"}),
            files=frozenset({"credentials_file"}),
            produces="native",
            factory="rivet_gcs.auth:from_file",
        ),
        AuthResolverSpec(
            name="gcs-default",
            destinations=_GCS,
            summary="Application Default Credentials: GOOGLE_APPLICATION_CREDENTIALS, gcloud, metadata server",
            selects_on=frozenset(),
            produces="native",
            factory="rivet_gcs.auth:from_environment",
            default=True,
        ),
        AuthResolverSpec(
            name="gcs-anonymous",
            destinations=_GCS,
            summary="No credentials, for emulators and public buckets",
            selects_on=frozenset({"allow_anonymous"}),
            produces="anonymous",
            factory="rivet_core.api.providers:anonymous",
        ),
    ]
