"""The fields of an ``azure`` destination."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from rivet_core.api.fields import Size
from rivet_core.api.object_store import ObjectStoreConfig

#: The largest block that the service takes ("Scalability and performance targets for Blob storage").
LARGEST_BLOCK_BYTES: Final = 4000 << 20
_SMALLEST_BLOCK_BYTES: Final = 1 << 20

_TagText = Annotated[str, StringConstraints(max_length=256, pattern=r"^[A-Za-z0-9 +\-./:=_]*$")]
_MetadataName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
_MetadataValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$")]


class AzureConfig(ObjectStoreConfig):
    """A container of Azure Blob Storage."""

    bucket: str = Field(
        min_length=1,
        max_length=63,
        pattern=r"^(\$root|\$web|[a-z0-9](-?[a-z0-9])+)$",
        description="Name of the container.",
    )
    account_name: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]{3,24}$",
        description=(
            "Name of the storage account. Where no `endpoint` is set, requests go to "
            "`https://<account_name>.blob.core.windows.net`."
        ),
        examples=["mystorageaccount"],
    )
    part_size: Size | None = Field(
        default=None,
        ge=_SMALLEST_BLOCK_BYTES,
        le=LARGEST_BLOCK_BYTES,
        description="Size of one block of a large upload. The default follows from the memory budget.",
        examples=["16MiB"],
    )
    metadata: dict[_MetadataName, _MetadataValue] = Field(
        default_factory=dict, description="Metadata of every blob: names are those of variables, values are ASCII."
    )
    tags: dict[_TagText, _TagText] = Field(
        default_factory=dict,
        max_length=10,
        description="Index tags of every blob, at most ten.",
        examples=[{"env": "prod"}],
    )
    access_tier: Literal["Hot", "Cool", "Cold", "Archive"] | None = Field(
        default=None,
        description=(
            "Access tier of the parts; by default the account's. The manifests and `_SUCCESS` stay in the account's "
            "tier, so that they can be read with `Archive`, too."
        ),
    )
    encryption_scope: str | None = Field(
        default=None,
        min_length=3,
        max_length=63,
        description="Encryption scope of every blob; by default the container's.",
    )
    api_version: str | None = Field(
        default=None,
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="Version of the service's protocol, for stores that know an older one only.",
        examples=["2025-11-05"],
    )
