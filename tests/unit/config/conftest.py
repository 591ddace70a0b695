"""A registry of small plugins, and a way to load a configuration from text."""

from __future__ import annotations

import sys
import textwrap
from types import ModuleType
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from rivet_core.api import (
    AuthResolverSpec,
    ConfigError,
    DestinationSpec,
    FormatSpec,
    SourceSpec,
)
from rivet_core.config import ConfigProblems, load
from rivet_core.plugins import Registry, _Plugin


class TlsConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mode: Literal["require", "disable"] = Field(default="require", description="Encryption.")


class DatabaseConfig(BaseModel):
    """Does not forbid unknown fields: the loader has to."""

    url: str | None = Field(default=None, description="URL of the database.")
    url_env: str | None = Field(default=None, description="Environment variable with the URL.")
    host: str | None = Field(default=None, description="Host name.")
    port: int | None = Field(default=None, description="Port.")
    password: str | None = Field(default=None, description="Password.")
    tls: TlsConfig = Field(default=TlsConfig(), description="Encryption of the connection.")
    dialect: str | None = Field(default=None, description="SQLAlchemy dialect.")

    @model_validator(mode="after")
    def _one_way(self) -> DatabaseConfig:
        if self.url is not None and "gobbledygook" in self.url:
            raise ValueError(f"cannot understand {self.url}")
        if self.host == "refused":
            raise ConfigError("a remote database needs TLS", hint="or write tls: {mode: disable}")
        if self.host == "boom":
            raise ZeroDivisionError(self.password)
        return self


class BucketConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    bucket: str = Field(description="Bucket.")
    prefix: str = Field(default="", description="Prefix with placeholders.")
    account_name: str | None = Field(default=None, description="Account.")
    endpoint: str | None = Field(default=None, description="Host.")

    @field_validator("prefix")
    @classmethod
    def _relative(cls, prefix: str) -> str:
        if prefix.startswith("/"):
            raise PydanticCustomError("prefix", "must not start with a slash", {"hint": "leave the slash out"})
        return prefix


class DirectoryConfig(BaseModel):
    path: str = Field(description="Directory with placeholders.")


class PipeConfig(BaseModel):
    """The standard output."""


class ColumnarConfig(BaseModel):
    compression: Literal["zstd", "none"] = Field(default="zstd", description="Codec.")
    level: int | None = Field(default=None, description="Level of the codec.")


class TextConfig(BaseModel):
    compression: Literal["none"] = Field(default="none", description="Codec.")
    delimiter: str = Field(default=",", max_length=1, description="Between two fields.")


def resolver(name, destinations=("cloud",), **fields):
    return AuthResolverSpec(
        name=name,
        destinations=frozenset(destinations),
        summary=f"Credentials by {name}",
        factory="rivet_acme:resolve",
        selects_on=frozenset(fields.get("selects_on", ())),
        requires=frozenset(fields.get("requires", ())),
        optional=frozenset(fields.get("optional", ())),
        produces=fields.get("produces", "keys"),
        default=fields.get("default", False),
    )


RESOLVERS = [
    resolver("default-chain", default=True, produces="native"),
    resolver("static", selects_on={"access_key_env"}, requires={"secret_key_env"}, optional={"session_token_env"}),
    resolver("sas", selects_on={"sas_token_env", "sas_token_file"}, requires={"account_name"}, produces="sas"),
    resolver("anonymous", selects_on={"allow_anonymous"}, produces="anonymous"),
    resolver("vault", selects_on={"vault_path"}, optional={"vault_role"}),
    resolver("wrong-kind", selects_on={"token_env"}, produces="token"),
]


def destination(type_, config, kind="store", **more):
    return DestinationSpec(
        type=type_, kind=kind, summary=f"The {type_}", config=f"rivet_acme:{config}", factory="rivet_acme:open", **more
    )


def specs():
    return [
        SourceSpec(
            type="sqlalchemy",
            summary="Databases",
            config="rivet_acme:DatabaseConfig",
            factory="rivet_acme:open",
            fallback_for={"postgres": "postgresql"},
        ),
        FormatSpec("parquet", "parquet", "application/x", "Columns", "rivet_acme:ColumnarConfig", "rivet_acme:open"),
        FormatSpec("csv", "csv", "text/csv", "Text", "rivet_acme:TextConfig", "rivet_acme:open"),
        destination("local", "DirectoryConfig", template="path"),
        destination("bucket", "BucketConfig"),
        destination("cloud", "BucketConfig", accepts=frozenset({"keys", "sas", "anonymous"})),
        destination("pipe", "PipeConfig", kind="stream"),
        destination("damaged", "missing"),
        destination("misspecified", "BucketConfig", template="folder"),
        *RESOLVERS,
    ]


@pytest.fixture
def registry(monkeypatch):
    module = ModuleType("rivet_acme")
    for model in (DatabaseConfig, BucketConfig, DirectoryConfig, PipeConfig, ColumnarConfig, TextConfig):
        setattr(module, model.__name__, model)
    monkeypatch.setitem(sys.modules, "rivet_acme", module)
    return Registry([_Plugin("acme", "rivet-acme", "1.0", specs=specs())])


@pytest.fixture
def load_text(tmp_path, registry):
    """Load a configuration from its text; the environment is what the test gives and nothing else."""

    def load_it(text, environ=None):
        path = tmp_path / "rivet.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load(path, registry, environ or {})

    return load_it


@pytest.fixture
def problems_of(load_text):
    """Return the problems of a text as ``(line, field, message, hint)``."""

    def problems(text, environ=None):
        with pytest.raises(ConfigProblems) as caught:
            load_text(text, environ)
        return [(item.line, item.field, item.message, item.hint) for item in caught.value.problems]

    return problems
