"""Every option of the configuration arrives at the service, and is refused where it cannot be right."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from azure.storage.blob import ContainerClient
from pydantic import ValidationError

from rivet_azure.config import AzureConfig
from rivet_azure.destination import AzureDestination
from rivet_core.api import Capabilities, ObjectInfo
from rivet_core.api.pieces import PieceUpload
from servers.http_proxy import HttpProxy

Open = Callable[..., AzureDestination]
CLAIMED = Capabilities(conditional_put=True, checksum=("md5", "declared"))


def write(destination: AzureDestination, key: str, size: int) -> ObjectInfo:
    with destination.open_writer(key) as writer:
        writer.write(os.urandom(size))
        return writer.commit()


@pytest.mark.parametrize("size", [1000, 2_500_000], ids=["one_request", "blocks"])
def test_parts_and_their_copies_have_tier_metadata_and_tags(
    open_at: Open, container: ContainerClient, size: int
) -> None:
    options = {"access_tier": "Cool", "metadata": {"owner": "data_platform"}, "tags": {"env": "prod", "team": "a b"}}
    destination = open_at(part_size="1MiB", **options)
    destination.copy(write(destination, "part", size), "copy")
    for key in ("part", "copy"):
        blob = container.get_blob_client(f"exports/orders/{key}")
        found = blob.get_blob_properties()
        assert (found.blob_tier, found.metadata) == (options["access_tier"], options["metadata"])
        assert blob.get_blob_tags() == options["tags"]


def test_control_objects_have_metadata_and_tags_and_no_tier(open_at: Open, container: ContainerClient) -> None:
    destination = open_at(access_tier="Archive", metadata={"owner": "x"}, tags={"env": "prod"})
    destination.put("_SUCCESS", b"x")
    blob = container.get_blob_client("exports/orders/_SUCCESS")
    found = blob.get_blob_properties()
    assert (found.blob_tier, found.metadata, blob.get_blob_tags()) == ("Hot", {"owner": "x"}, {"env": "prod"})


def test_every_request_that_writes_names_the_encryption_scope(open_at: Open, proxy: HttpProxy) -> None:
    """Azurite takes the scope and does not show it; so this looks at what was sent."""
    destination = open_at(proxy.port, part_size="1MiB", encryption_scope="finance")
    destination.put("_SUCCESS", b"x")
    write(destination, "part", 2_500_000)
    writes = [exchange for exchange in proxy.exchanges if exchange.method == "PUT"]
    assert len(writes) == 5
    assert {exchange.headers.get("x-ms-encryption-scope") for exchange in writes} == {"finance"}


def test_the_version_of_the_protocol_can_be_pinned(open_at: Open, proxy: HttpProxy) -> None:
    open_at(proxy.port, api_version="2023-11-03").put("a", b"x")
    assert proxy.exchanges[0].headers["x-ms-version"] == "2023-11-03"


@pytest.mark.parametrize("size", [1000, 2_500_000], ids=["one_request", "blocks"])
def test_the_store_shows_the_md5_of_every_part(open_at: Open, container: ContainerClient, size: int) -> None:
    destination = open_at(part_size="1MiB", checksum="required")
    info = write(destination, "part", size)
    found = container.get_blob_client("exports/orders/part").get_blob_properties()
    assert bytes(found.content_settings.content_md5).hex() == info.checksums["md5"]
    assert destination.capabilities(CLAIMED) == CLAIMED


@pytest.mark.parametrize("size", [1000, 2_500_000], ids=["one_request", "blocks"])
def test_without_checksums_none_are_claimed_or_given(open_at: Open, proxy: HttpProxy, size: int) -> None:
    destination = open_at(proxy.port, part_size="1MiB", checksum="off")
    info = write(destination, "part", size)
    assert not info.checksums
    assert destination.head("part") == info
    assert destination.copy(info, "copy").size_bytes == size
    assert destination.capabilities(CLAIMED).checksum is None
    blocks = [exchange for exchange in proxy.exchanges if exchange.query.get("comp") == "block"]
    assert not any("content-md5" in exchange.headers for exchange in blocks)


def test_blocks_have_the_configured_size_and_number(open_at: Open, proxy: HttpProxy) -> None:
    destination = open_at(proxy.port, part_size="2MiB", upload_concurrency=2)
    write(destination, "part", 5 << 20)
    blocks = [exchange for exchange in proxy.exchanges if exchange.query.get("comp") == "block"]
    assert sorted(exchange.body_bytes for exchange in blocks) == [1 << 20, 2 << 20, 2 << 20]
    assert all("content-md5" in exchange.headers for exchange in blocks)
    assert len({len(exchange.query["blockid"]) for exchange in blocks}) == 1


def test_blocks_are_sent_side_by_side(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    submit = PieceUpload._submit

    def watch(upload: PieceUpload[int]) -> None:
        submit(upload)
        seen.append(sum(not future.done() for future in upload._sent))

    monkeypatch.setattr(PieceUpload, "_submit", watch)
    write(open_at(part_size="1MiB", upload_concurrency=4), "part", 8 << 20)
    assert max(seen) > 1


@pytest.mark.parametrize(
    "fields",
    [
        {"bucket": "Upper"},
        {"bucket": "a"},
        {"bucket": "two--dashes"},
        {"account_name": "with-dash"},
        {"tags": {str(number): "x" for number in range(11)}},
        {"tags": {"a?": "x"}},
        {"metadata": {"with-dash": "x"}},
        {"metadata": {"a": "ümlaut"}},
        {"access_tier": "Frozen"},
        {"api_version": "latest"},
        {"part_size": "4001MiB"},
        {"encryption_scope": ""},
    ],
)
def test_what_the_service_would_refuse_is_refused_at_load(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AzureConfig.model_validate({"bucket": "exports", **fields})


@pytest.mark.parametrize("bucket", ["exports", "my-exports-2026", "$root", "$web", "123"])
def test_names_of_containers(bucket: str) -> None:
    assert AzureConfig(bucket=bucket).bucket == bucket


def test_directories_of_a_hierarchical_namespace_are_no_objects(open_at: Open, container: ContainerClient) -> None:
    container.upload_blob("exports/orders/_quarantine", b"", metadata={"hdi_isfolder": "true"})
    destination = open_at()
    destination.put("_quarantine/run/part", b"x")
    assert [found.key for found in destination.list()] == ["_quarantine/run/part"]
    assert destination.head("_quarantine") is None
