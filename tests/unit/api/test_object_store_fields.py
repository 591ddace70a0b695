"""The fields that object stores share: what they accept, what they make of it, and whom credentials are sent to."""

from __future__ import annotations

import doctest
import importlib

import pytest
from pydantic import ValidationError

from rivet_core.api import ConfigError
from rivet_core.api.object_store import ObjectStoreConfig, refuse_plain_http


@pytest.mark.parametrize(
    ("written", "prefix"),
    [("", ""), ("orders", "orders/"), ("exports/{date}/{export}/", "exports/{date}/{export}/"), ("a b/ü", "a b/ü/")],
)
def test_a_prefix_ends_in_a_slash(written: str, prefix: str):
    assert ObjectStoreConfig(bucket="b", prefix=written).prefix == prefix


@pytest.mark.parametrize("prefix", ["/orders", "a//b", "a/../b", "./a", "a//", "/", "a\\b", "a\0b"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str):
    with pytest.raises(ValidationError, match="relative path"):
        ObjectStoreConfig(bucket="b", prefix=prefix)


@pytest.mark.parametrize("endpoint", ["https://minio:9000/", "http://[::1]:9000", "https://host/account"])
def test_an_endpoint_is_a_url(endpoint: str):
    assert ObjectStoreConfig(bucket="b", endpoint=endpoint).endpoint == endpoint.rstrip("/")


@pytest.mark.parametrize(
    "endpoint",
    ["minio:9000", "ftp://host", "https://", "https://host:port", "https://[::1", "https://host/?x=1", "https://h/#f"],
)
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str):
    with pytest.raises(ValidationError, match="endpoint"):
        ObjectStoreConfig(bucket="b", endpoint=endpoint)


def test_an_endpoint_with_a_password_is_refused():
    with pytest.raises(ValidationError, match="no user, password"):
        ObjectStoreConfig(bucket="b", endpoint="https://user:pass@host")


@pytest.mark.parametrize("part_size", ["4MiB", 1, "huge", 0])
def test_a_part_size_below_every_store_s_minimum_is_refused(part_size: object):
    with pytest.raises(ValidationError, match="part_size"):
        ObjectStoreConfig.model_validate({"bucket": "b", "part_size": part_size})


@pytest.mark.parametrize(
    "endpoint",
    [None, "https://example.com", "http://127.0.0.1:9000", "http://[::1]:1", "http://localhost", "http://a.localhost"],
)
def test_credentials_may_go_over_tls_and_to_this_machine(endpoint: str | None):
    refuse_plain_http(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["http://example.com", "http://10.0.0.1:9000", "http://127.0.0.1.example.com", "http://localhost.com"]
)
def test_credentials_in_plain_text_stay_on_this_machine(endpoint: str):
    with pytest.raises(ConfigError, match="plain text") as caught:
        refuse_plain_http(endpoint)
    assert "allow_anonymous" in caught.value.hint


def test_the_examples_in_the_code_run():
    failed, attempted = doctest.testmod(importlib.import_module("rivet_core.api.fields"))
    assert attempted
    assert not failed
