"""The fields of an ``s3`` destination."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rivet_core.api.object_store import ObjectStoreConfig


class Encryption(BaseModel):
    """How S3 encrypts each object."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["aes256", "kms"] = Field(description="`aes256` with S3's own key, `kms` with one of AWS KMS.")
    kms_key_id: str | None = Field(
        default=None, min_length=1, description="ARN of the KMS key; the default is the account's key for S3."
    )

    @model_validator(mode="after")
    def _key_needs_kms(self) -> Self:
        if self.kms_key_id is not None and self.type != "kms":
            raise ValueError("kms_key_id needs type: kms")
        return self


class S3Config(ObjectStoreConfig):
    """Amazon S3 and compatible stores."""

    region: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "Region of the bucket. The default is the profile's or the environment's (`AWS_REGION`, "
            "`AWS_DEFAULT_REGION`); with `endpoint` it is `us-east-1`."
        ),
        examples=["eu-north-1"],
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description=(
            "Whether the bucket is in the URL's path or in its host name. `auto` is `path` with `endpoint`, else "
            "`virtual`."
        ),
    )
    conditional_writes: Literal["auto", "required", "off"] = Field(
        default="auto",
        description=(
            "Whether the store decides that an object is written once (`If-None-Match`, `If-Match`): `auto` where it "
            "can, `required` fails where it cannot, `off` looks before it writes."
        ),
    )
    storage_class: str | None = Field(
        default=None,
        min_length=1,
        description="Storage class of every object; the default is the bucket's.",
        examples=["STANDARD_IA", "INTELLIGENT_TIERING"],
    )
    sse: Encryption | None = Field(
        default=None, description="Encryption of every object by the server; the default is the bucket's."
    )
    tags: Annotated[dict[str, str], Field(max_length=10)] = Field(
        default_factory=dict, description="Tags of every object, by key; ten at most."
    )
    acl: (
        Literal[
            "private",
            "public-read",
            "authenticated-read",
            "aws-exec-read",
            "bucket-owner-read",
            "bucket-owner-full-control",
        ]
        | None
    ) = Field(default=None, description="Canned ACL of every object, for buckets that have ACLs enabled.")
    requester_pays: bool = Field(
        default=False, description="Pay for requests to a bucket whose owner has them paid by the requester."
    )
