"""Options, checked through what the server keeps or, where no server for tests keeps it, through what it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from rivet_core.api import DestinationContext
from rivet_gcs.config import GcsConfig
from rivet_gcs.destination import GcsDestination
from servers.certificate import new_certificate
from servers.gcs import GcsServer
from servers.http_proxy import HttpProxy
from servers.http_rules import Exchange
from servers.process import HOST

KEY = "projects/p/locations/europe-north1/keyRings/r/cryptoKeys/k"
LARGE = bytes(1_000_000)
WAYS = ["put", "one request", "resumable", "copy"]


@pytest.fixture
def proxy(emulator: GcsServer) -> Iterator[HttpProxy]:
    """A proxy in front of the server that keeps most options."""
    with HttpProxy(emulator.port) as proxy:
        yield proxy


@pytest.fixture
def bucket(fake_gcs: GcsServer) -> str:
    return fake_gcs.create_bucket()


@pytest.fixture
def kept_in(emulator: GcsServer) -> str:
    return emulator.create_bucket()


@pytest.fixture
def store(proxy: HttpProxy, kept_in: str, open_at: Callable[..., GcsDestination]) -> GcsDestination:
    return open_at(
        proxy.port,
        kept_in,
        part_size="256KiB",
        storage_class="NEARLINE",
        metadata={"team": "sales", "Größe": "übergroß"},
        kms_key=KEY,
        user_project="payer",
    )


def store_by(way: str, store: GcsDestination) -> str:
    """Write an object in one of the ways and return its key."""
    if way in ("one request", "resumable"):
        with store.open_writer("part-000001.parquet") as writer:
            writer.write(LARGE if way == "resumable" else b"1")
            writer.commit()
        return "part-000001.parquet"
    info = store.put("manifest.json", b"{}")
    return info.key if way == "put" else store.copy(info, "_quarantine/run/manifest.json").key


@pytest.mark.parametrize("way", WAYS)
def test_objects_have_their_options(
    store: GcsDestination, proxy: HttpProxy, emulator: GcsServer, kept_in: str, way: str
) -> None:
    key = store_by(way, store)
    with emulator.client() as client:
        blob = client.bucket(kept_in).get_blob(f"exports/orders/{key}", retry=None)
    assert blob is not None
    assert blob.metadata == {"team": "sales", "Größe": "übergroß"}
    expected = "application/json" if key.endswith("json") else "application/vnd.apache.parquet"
    assert blob.content_type == expected
    assert blob.storage_class == "NEARLINE"
    # The server keeps no key of Cloud KMS and bills nobody: what it was sent has to do.
    writes = [exchange for exchange in proxy.exchanges if exchange.method == "POST"]
    names = {"rewriteTo": "destinationKmsKeyName", "upload": "kmsKeyName"}
    for exchange in writes:
        name = names["rewriteTo" if "rewriteTo" in exchange.path else "upload"]
        assert exchange.query[name] == KEY
        assert exchange.query["userProject"] == "payer"


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.head("manifest.json"),
        lambda store: list(store.list()),
        lambda store: store.open_reader("manifest.json").read(),
        lambda store: store.delete("manifest.json"),
        lambda store: list(store.check()),
    ],
    ids=["head", "list", "read", "delete", "check"],
)
def test_every_request_names_who_pays(
    store: GcsDestination, proxy: HttpProxy, ask: Callable[[GcsDestination], object]
) -> None:
    store.put("manifest.json", b"{}")
    proxy.forget()
    ask(store)
    assert proxy.exchanges
    assert {exchange.query.get("userProject") for exchange in proxy.exchanges} == {"payer"}


@pytest.mark.parametrize(("upload_bytes", "piece"), [(48_000_000, 61), (3_000_000, 3), (1, 1), (10**9, 128)])
def test_a_piece_is_a_third_of_the_memory_share(
    open_at: Callable[..., GcsDestination], monkeypatch: pytest.MonkeyPatch, upload_bytes: int, piece: int
) -> None:
    monkeypatch.setattr(DestinationContext, "__init__", _with_share(upload_bytes))
    assert open_at(1, "bucket").buffer_bytes == 3 * piece * 256 * 1024


def _with_share(upload_bytes: int) -> Callable[..., None]:
    original = DestinationContext.__init__
    return lambda self, *arguments: original(self, *arguments, upload_bytes=upload_bytes)


def test_part_size_is_the_size_of_a_request(
    proxy: HttpProxy, kept_in: str, open_at: Callable[..., GcsDestination]
) -> None:
    store = open_at(proxy.port, kept_in, part_size="600KiB")
    with store.open_writer("part") as writer:
        writer.write(LARGE)
        writer.commit()
    assert [item.body_bytes for item in proxy.exchanges if item.method == "PUT"] == [524288, 1_000_000 - 524288]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kms_key", "my-key"),
        ("storage_class", "nearline"),
        ("part_size", "100KiB"),
        ("upload_concurrency", 4),
        ("checksum", "maybe"),
        ("endpoint", "storage.example.com"),
        ("user_project", ""),
        ("timeout_seconds", 0),
        ("acl", "public"),
        ("bucket", "-sales"),
        ("bucket", "gs://sales"),
    ],
)
def test_bad_options_are_refused_at_load(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        GcsConfig.model_validate({"bucket": "b", field: value})


def test_a_private_certificate_authority(
    fake_gcs: GcsServer, tmp_path: Any, rivet: Callable[..., Any], bucket: str
) -> None:
    certificate = new_certificate(tmp_path)
    with HttpProxy(fake_gcs.port, tls=certificate.server_side()) as proxy:
        destination = {
            "type": "gcs",
            "bucket": bucket,
            "endpoint": f"https://{HOST}:{proxy.port}",
            "allow_anonymous": True,
        }
        refused = rivet("run", destination=destination)
        assert refused.exit_code == 1
        assert "is not trusted" in refused.err
        assert "REQUESTS_CA_BUNDLE" in refused.err
        trusting = {"REQUESTS_CA_BUNDLE": str(certificate.certificate)}
        assert rivet("run", destination=destination, env=trusting).exit_code == 0


def test_an_http_proxy_of_the_environment(fake_gcs: GcsServer, rivet: Callable[..., Any], bucket: str) -> None:
    with HttpProxy(fake_gcs.port) as proxy:
        destination = {"type": "gcs", "bucket": bucket, "endpoint": fake_gcs.endpoint, "allow_anonymous": True}
        through = {"HTTP_PROXY": f"http://{HOST}:{proxy.port}", "http_proxy": f"http://{HOST}:{proxy.port}"}
        done = rivet("run", destination=destination, env={**through, "NO_PROXY": "", "no_proxy": ""})
        assert done.exit_code == 0, done

        def by_proxy(exchange: Exchange) -> bool:
            return exchange.target.startswith(fake_gcs.endpoint)

        assert proxy.exchanges
        assert all(map(by_proxy, proxy.exchanges))


def test_a_whole_export(fake_gcs: GcsServer, rivet: Callable[..., Any], bucket: str) -> None:
    destination = {
        "type": "gcs",
        "bucket": bucket,
        "prefix": "exports/{export}/",
        "endpoint": fake_gcs.endpoint,
        "allow_anonymous": True,
    }
    assert rivet("run", "--validate", destination=destination).exit_code == 0
    validated = rivet("validate", "--format", "json", destination=destination)
    assert validated.exit_code == 0
    assert "verified" in validated.out
    with fake_gcs.client() as client:
        manifest = json.loads(client.bucket(bucket).blob("exports/orders/manifest.json").download_as_bytes())
        checksums = {
            blob.name.rpartition("/")[2]: blob.crc32c for blob in client.list_blobs(bucket, prefix="exports/orders/")
        }
    assert manifest["row_count"] == 100
    assert manifest["destination"] == {"kind": "gcs", "uri": f"gs://{bucket}/exports/orders/"}
    for part in manifest["parts"]:
        assert part["checksums"].keys() == {"crc32c"}
        assert part["version"].isdecimal()
        assert checksums[part["path"]]
    doctor = rivet("doctor", destination=destination)
    assert doctor.exit_code == 0, doctor
    assert "none of" in doctor.out


def test_a_changed_object_fails_validation(fake_gcs: GcsServer, rivet: Callable[..., Any], bucket: str) -> None:
    destination = {"type": "gcs", "bucket": bucket, "endpoint": fake_gcs.endpoint, "allow_anonymous": True}
    assert rivet("run", destination=destination).exit_code == 0
    with fake_gcs.client() as client:
        blob = client.bucket(bucket).blob("part-000001.parquet")
        data = bytearray(blob.download_as_bytes())
        data[100] ^= 1  # same size
        blob.upload_from_string(bytes(data))
    assert rivet("validate", destination=destination).exit_code == 3


def test_a_missing_bucket_is_named(fake_gcs: GcsServer, rivet: Callable[..., Any]) -> None:
    destination = {"type": "gcs", "bucket": "nowhere", "endpoint": fake_gcs.endpoint, "allow_anonymous": True}
    done = rivet("run", destination=destination)
    assert done.exit_code == 2
    assert "error[R406]" in done.err
    assert "create the bucket" in done.err
