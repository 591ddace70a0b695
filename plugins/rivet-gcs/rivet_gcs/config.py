"""The fields of a ``gcs`` destination."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from rivet_core.api.fields import Size
from rivet_core.api.object_store import ObjectStoreConfig

#: The piece of which every request of a resumable upload but the last must be a multiple, in bytes.
CHUNK_BYTES: Final = 256 * 1024
_KMS_KEY: Final = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


class GcsConfig(ObjectStoreConfig):
    """A bucket of Google Cloud Storage."""

    bucket: str = Field(max_length=222, pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", description="Name of the bucket.")
    part_size: Size | None = Field(
        default=None,
        ge=CHUNK_BYTES,
        description=(
            "Size of one request of a large upload, rounded down to a multiple of 256 KiB. The default follows from "
            "the memory budget."
        ),
        examples=["16MiB"],
    )
    upload_concurrency: Literal[1] = Field(
        default=1,
        description=(
            "Always 1: Google Cloud Storage takes the requests of one upload one after the other. Parts are uploaded "
            "side by side with the export's `parallel`."
        ),
    )
    storage_class: str | None = Field(
        default=None,
        pattern=r"^[A-Z_]+$",
        description="Storage class of every object; by default the bucket's.",
        examples=["NEARLINE", "ARCHIVE"],
    )
    kms_key: str | None = Field(
        default=None,
        description="Cloud KMS key that encrypts every object; by default the bucket's, or a key of Google's.",
        examples=["projects/my-project/locations/europe-north1/keyRings/my-ring/cryptoKeys/my-key"],
    )
    user_project: str | None = Field(
        default=None,
        min_length=1,
        description="Project that pays for the requests, for a bucket whose requester pays.",
    )

    @field_validator("kms_key")
    @classmethod
    def _full_name(cls, kms_key: str | None) -> str | None:
        if kms_key is not None and not _KMS_KEY.fullmatch(kms_key):
            raise PydanticCustomError(
                "kms_key",
                "must be the full name of a Cloud KMS key",
                {"hint": "write it as projects/P/locations/L/keyRings/R/cryptoKeys/K"},
            )
        return kms_key
