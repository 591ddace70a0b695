"""Entry module of rivet-s3: one destination, ``s3``, and its auth resolvers."""

from __future__ import annotations

from rivet_core.api import AuthResolverSpec, Capabilities, DestinationSpec
from rivet_core.hookspecs import hookimpl

_S3 = frozenset({"s3"})


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register the ``s3`` destination."""
    return [
        DestinationSpec(
            type="s3",
            kind="store",
            summary="Amazon S3 and compatible stores",
            config="rivet_s3.config:S3Config",
            factory="rivet_s3.destination:open_s3",
            capabilities=Capabilities(
                conditional_put=True,
                conditional_writer=True,
                checksum=("crc32c", "verified"),
                pending="listed",
                max_object_bytes=5 << 40,
            ),
            accepts=frozenset({"keys", "anonymous"}),
            place=frozenset({"bucket", "endpoint"}),
        )
    ]


@hookimpl
def rivet_auth_resolvers() -> list[AuthResolverSpec]:
    """Register the ways to log in to S3."""
    return [
        AuthResolverSpec(
            name="s3-keys",
            destinations=_S3,
            summary="Access key, secret key and session token from environment variables",
            selects_on=frozenset({"access_key_env", "secret_key_env", "session_token_env"}),
            requires=frozenset({"access_key_env", "secret_key_env"}),
            produces="keys",
            factory="rivet_s3.auth:keys_from_environment",
        ),
        AuthResolverSpec(
            name="s3-profile",
            destinations=_S3,
            summary="A profile of the AWS CLI: static keys, SSO, assumed role, credential_process",
            selects_on=frozenset({"aws_profile"}),
            produces="native",
            factory="rivet_s3.auth:profile",
        ),
        AuthResolverSpec(
            name="s3-default",
            destinations=_S3,
            summary="The default chain of the AWS SDK: environment, profile, web identity, container, instance",
            selects_on=frozenset(),
            produces="native",
            factory="rivet_s3.auth:default_chain",
            default=True,
        ),
        AuthResolverSpec(
            name="s3-anonymous",
            destinations=_S3,
            summary="No credentials: unsigned requests",
            selects_on=frozenset({"allow_anonymous"}),
            produces="anonymous",
            factory="rivet_core.api.providers:anonymous",
        ),
    ]
