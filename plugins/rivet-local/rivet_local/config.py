"""The fields of a ``local`` destination."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class LocalConfig(BaseModel):
    """A directory on a local disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        min_length=1,
        description=(
            "Directory of the export. A relative path starts at the directory of the configuration file, `~` is the "
            "home directory. May hold the placeholders `{date}`, `{export}`, `{table}` and `{run_id}`. Created by the "
            "first write."
        ),
        examples=["./output/{export}", "/data/exports/{export}/{date}"],
    )

    @field_validator("path")
    @classmethod
    def _no_nul(cls, path: str) -> str:
        if "\0" in path:
            raise ValueError("a path cannot hold a NUL character")
        return path
