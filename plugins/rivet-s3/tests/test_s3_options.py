"""Every option arrives at the store, for objects of one request and of parts, and for copies."""

from __future__ import annotations

from typing import Any

import pytest

from rivet_core.api import ConfigError, IfAbsent
from servers.http_rules import Answer

MIB = 1 << 20


def make_each_kind(store: Any) -> list[str]:
    """Make a control object, a small part, a large one, and a copy of each."""
    infos = [store.put("control", b"x", condition=IfAbsent())]
    for key, size in (("small", 1000), ("large", 6 * MIB)):
        with store.open_writer(key) as writer:
            writer.write(bytes(size))
            infos.append(writer.commit())
    return [info.key for info in infos] + [store.copy(info, f"{info.key}-copied").key for info in infos]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"storage_class": "STANDARD_IA"}, {"StorageClass": "STANDARD_IA"}),
        ({"sse": {"type": "aes256"}}, {"ServerSideEncryption": "AES256"}),
        (
            {"sse": {"type": "kms", "kms_key_id": "arn:aws:kms:us-east-1:1:key/abc"}},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:us-east-1:1:key/abc"},
        ),
        ({"metadata": {"owner": "exports", "team": "data"}}, {"Metadata": {"owner": "exports", "team": "data"}}),
    ],
    ids=["storage class", "SSE-S3", "SSE-KMS", "metadata"],
)
def test_head_shows_the_option(moto_place: Any, connect: Any, fields: dict[str, Any], found: dict[str, Any]) -> None:
    for key in make_each_kind(connect(moto_place, part_size="5MiB", **fields)):
        head = moto_place.head(key)
        assert {name: head.get(name) for name in found} == found, key


def test_tags_are_set(moto_place: Any, connect: Any) -> None:
    tags = {"team": "data + analytics", "cost centre": "42=x"}
    for key in make_each_kind(connect(moto_place, part_size="5MiB", tags=tags)):
        answer = moto_place.client.get_object_tagging(Bucket=moto_place.bucket, Key=moto_place.prefix + key)
        assert {tag["Key"]: tag["Value"] for tag in answer["TagSet"]} == tags, key


def test_the_acl_is_sent(moto_place: Any, moto_proxy: Any, connect: Any) -> None:
    make_each_kind(connect(moto_place, through=moto_proxy, part_size="5MiB", acl="bucket-owner-full-control"))
    creating = [
        exchange.headers.get("x-amz-acl")
        for exchange in moto_proxy.exchanges
        if (exchange.method == "PUT" and "partNumber" not in exchange.query and ".rivet-probe" not in exchange.path)
        or exchange.target.endswith("?uploads")
    ]
    assert creating
    assert set(creating) == {"bucket-owner-full-control"}


def test_the_requester_pays_for_every_request_about_objects(place: Any, proxy: Any, connect: Any) -> None:
    store = connect(place, through=proxy, part_size="5MiB", requester_pays=True)
    make_each_kind(store)
    list(store.list())
    list(store.pending_uploads())
    store.open_reader("small").close()
    store.delete("small")
    assert {exchange.headers.get("x-amz-request-payer") for exchange in proxy.exchanges} == {"requester"}


def test_upload_concurrency_of_one_sends_one_part_after_another(place: Any, proxy: Any, connect: Any) -> None:
    store = connect(place, through=proxy, part_size="5MiB", upload_concurrency=1)
    with store.open_writer("large") as writer:
        writer.write(bytes(21 * MIB))
        writer.commit()
    numbers = [exchange.query["partNumber"] for exchange in proxy.exchanges if "partNumber" in exchange.query]
    assert numbers == ["1", "2", "3", "4", "5"]
    sizes = [exchange.body_bytes for exchange in proxy.exchanges if "partNumber" in exchange.query]
    assert sizes == [5 * MIB] * 4 + [MIB]


@pytest.mark.parametrize(
    ("style", "target"),
    [
        ("auto", "http://storage.test/{bucket}/"),
        ("path", "http://storage.test/{bucket}/"),
        ("virtual", "http://{bucket}.storage.test/"),
    ],
)
def test_proxy_variables_and_addressing_style_are_honoured(
    place: Any, proxy: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, style: str, target: str
) -> None:
    """The host does not exist: what arrives has come through the proxy of the environment."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    rule = proxy.always(lambda exchange: True, Answer(200, {"ETag": '"1"'}))
    store = connect(place, endpoint="http://storage.test", allow_anonymous=True, addressing_style=style)
    assert store.head("x") is not None
    assert rule.fired == 1
    assert proxy.exchanges[0].target == target.format(bucket=place.bucket) + f"{place.prefix}x"


@pytest.mark.parametrize(
    "fields",
    [
        {"sse": {"type": "aes256", "kms_key_id": "k"}},
        {"sse": {"type": "rot13"}},
        {"tags": {str(number): "x" for number in range(11)}},
        {"acl": "everybody"},
        {"addressing_style": "sideways"},
        {"part_size": "1MiB"},
        {"storage_clas": "STANDARD"},
    ],
    ids=["key without kms", "unknown sse", "eleven tags", "unknown acl", "unknown style", "small parts", "misspelled"],
)
def test_wrong_options_are_refused_at_load(place: Any, export: Any, use_keys: Any, fields: dict[str, Any]) -> None:
    export.configure(place, **use_keys(place.server.admin), **fields)
    run = export.rivet("run")
    assert (run.exit_code, "error[R201]" in run.err) == (2, True), run
    assert next(iter(fields)) in run.err


def test_a_prefix_that_is_too_long_is_refused_before_any_request(place: Any, proxy: Any, connect: Any) -> None:
    store = connect(place, through=proxy, prefix="p" * 900 + "/")
    with pytest.raises(Exception, match="more than 1024 bytes"):
        store.open_writer("k" * 200)
    assert proxy.exchanges == []


def test_an_invalid_bucket_name_is_one_clear_error(place: Any, connect: Any) -> None:
    with pytest.raises(ConfigError, match="bucket") as caught:
        connect(place, bucket="Not A Bucket!").head("x")
    assert caught.value.hint
