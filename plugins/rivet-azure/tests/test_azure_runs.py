"""Whole exports by the command line: as documented, with the permissions that are documented, and under faults."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient, generate_container_sas

from rivet_core.cli.main import main
from servers.azurite import Azurite
from servers.http_proxy import HttpProxy
from servers.http_rules import Action, Answer, BlackHole, CorruptUpload, Delay, Exchange, LoseAnswer, ResetUpload

pytestmark = pytest.mark.usefixtures("impatient")

PAGE = Path(__file__).parents[3] / "docs/destinations/azure.md"
PREFIX = "exports/orders/"
#: What one export of three parts writes, in this order, each in one request.
WRITES = ["part", "part", "part", "immutable manifest", "manifest", "marker"]


@dataclass(frozen=True)
class Finished:
    exit_code: int
    out: str
    err: str


class Export:
    """A table of 300 rows, its export to a container in three chunks, and the command line for it."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._directory = directory
        self._capture = capture
        with closing(sqlite3.connect(directory / "shop.db")) as shop, shop:
            shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
            shop.executemany("INSERT INTO orders VALUES (?, ?)", ((number, f"note {number}") for number in range(300)))

    def configure(self, **destination: object) -> None:
        """Write ``rivet.yaml``."""
        export = {"name": "orders", "table": "orders", "mode": "chunked", "chunk_size": 100}
        document = {
            "source": {"type": "sqlite", "database": str(self._directory / "shop.db")},
            "state": {"url": f"sqlite:///{self._directory}/state.db"},
            "exports": [{**export, "destination": {"type": "azure", "prefix": PREFIX, **destination}}],
        }
        (self._directory / "rivet.yaml").write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML

    def rivet(self, *arguments: str) -> Finished:
        """Run a command to its end, in this process."""
        self._capture.readouterr()
        code = main([arguments[0], "-c", str(self._directory / "rivet.yaml"), *arguments[1:]])
        return Finished(code, *self._capture.readouterr())


@pytest.fixture
def fields(monkeypatch: pytest.MonkeyPatch, azurite: Azurite, container: ContainerClient) -> dict[str, object]:
    """The destination's fields, with the account's key."""
    monkeypatch.setenv("AZURE_KEY_OF_TEST", azurite.account_key)
    return {
        "bucket": container.container_name,
        "account_name": azurite.account_name,
        "endpoint": azurite.endpoint,
        "account_key_env": "AZURE_KEY_OF_TEST",
    }


@pytest.fixture
def export(tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, object]) -> Export:
    export = Export(tmp_path, capsys)
    export.configure(**fields)
    return export


@pytest.fixture
def objects(container: ContainerClient) -> Callable[[], dict[str, bytes]]:
    """Return every object of the prefix by key, asked of the server itself."""

    def get() -> dict[str, bytes]:
        names = list(container.list_blob_names(name_starts_with=PREFIX))
        return {name.removeprefix(PREFIX): container.download_blob(name).readall() for name in names}

    return get


@pytest.fixture
def use_sas(
    monkeypatch: pytest.MonkeyPatch, azurite: Azurite, container: ContainerClient, fields: dict[str, object]
) -> Callable[..., dict[str, object]]:
    """Sign access, put the signature into the environment, and return the fields that name it."""

    def use(permission: str, lifetime: timedelta = timedelta(hours=2)) -> dict[str, object]:
        token = generate_container_sas(
            azurite.account_name,
            container.container_name,
            azurite.account_key,
            permission=permission,
            expiry=datetime.now(UTC) + lifetime,
        )
        monkeypatch.setenv("AZURE_SAS_OF_TEST", f"?{token}")
        kept = {name: value for name, value in fields.items() if name != "account_key_env"}
        return {**kept, "sas_token_env": "AZURE_SAS_OF_TEST"}

    return use


def nth_write(number: int) -> Callable[[Exchange], bool]:
    """Match the write with this number."""
    writes: list[Exchange] = []

    def matches(exchange: Exchange) -> bool:
        if exchange.method != "PUT":
            return False
        if not any(exchange is known for known in writes):
            writes.append(exchange)
        return writes[number : number + 1] == [exchange] and writes[number] is exchange

    return matches


def check_dataset(found: dict[str, bytes]) -> None:
    """Check that the dataset is there once, and that nothing is listed that is not there."""
    manifest = json.loads(found["manifest.json"])
    assert manifest["row_count"] == 300
    assert sorted(key for key in found if key.startswith("part-")) == sorted(part["path"] for part in manifest["parts"])
    assert len(found) == len(WRITES)


def test_the_commands_of_a_day(
    export: Export, objects: Callable[[], dict[str, bytes]], fields: dict[str, object]
) -> None:
    run = export.rivet("run", "--validate")
    assert (run.exit_code, "verified" in run.out + run.err) == (0, True), run
    check_dataset(objects())
    report = json.loads(export.rivet("validate", "--format", "json").out)
    assert f"az://{fields['bucket']}/{PREFIX}" in json.dumps(report)
    assert export.rivet("validate", "--depth", "full").exit_code == 0
    doctor = export.rivet("doctor")
    assert doctor.exit_code == 0, doctor
    assert "unfinished uploads" in doctor.out
    assert "AZURE_KEY_OF_TEST" in doctor.out
    assert not [key for key in objects() if "doctor" in key]


def test_a_damaged_part_is_found_by_its_version_and_md5(export: Export, container: ContainerClient) -> None:
    assert export.rivet("run").exit_code == 0
    name = f"{PREFIX}part-000002.parquet"
    data = container.download_blob(name).readall()
    container.upload_blob(name, data, overwrite=True)  # the same bytes as another version
    assert export.rivet("validate").exit_code == 0
    container.upload_blob(name, data[:-1] + bytes([data[-1] ^ 1]), overwrite=True)
    validated = export.rivet("validate")
    assert validated.exit_code == 3
    assert "part-000002.parquet" in validated.out


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        *(pytest.param(number, LoseAnswer(), id=f"{WRITES[number]}, answer lost") for number in (0, 3, 4, 5)),
        pytest.param(1, ResetUpload(300), id="part, reset in the upload"),
        pytest.param(1, BlackHole(), id="part, silence until the timeout"),
        pytest.param(1, Delay(0.5), id="part, slow"),
        pytest.param(4, Answer(503, {"Retry-After": "1"}), id="manifest, unavailable"),
        pytest.param(5, ResetUpload(10), id="marker, reset in the upload"),
    ],
)
def test_an_export_survives(
    export: Export,
    azurite: Azurite,
    proxy: HttpProxy,
    fields: dict[str, object],
    objects: Callable[[], dict[str, bytes]],
    number: int,
    fault: Action,
) -> None:
    export.configure(**fields | {"endpoint": azurite.through(proxy.port).endpoint, "timeout_seconds": 1})
    rule = proxy.on(nth_write(number), fault)
    run = export.rivet("run", "--validate")
    assert run.exit_code == 0, run
    assert rule.fired == 1
    check_dataset(objects())


@pytest.mark.parametrize(
    ("fault", "exit_code", "code"),
    [
        pytest.param(Answer(503, {"Retry-After": "0"}), 1, "R407", id="unavailable"),
        pytest.param(Answer(403), 1, "R403", id="denied"),
        pytest.param(CorruptUpload(600), 3, "R408", id="bytes change on the way"),
    ],
)
def test_an_export_that_fails_leaves_the_dataset(
    export: Export,
    azurite: Azurite,
    proxy: HttpProxy,
    fields: dict[str, object],
    objects: Callable[[], dict[str, bytes]],
    fault: Action,
    exit_code: int,
    code: str,
) -> None:
    assert export.rivet("run").exit_code == 0
    before = objects()
    export.configure(**fields | {"endpoint": azurite.through(proxy.port).endpoint})
    rule = proxy.always(lambda exchange: exchange.method == "PUT", fault)
    run = export.rivet("run")
    assert rule.fired
    assert run.exit_code == exit_code, run
    assert f"error[{code}]" in run.err
    assert "hint: " in run.err
    assert objects() == before
    export.configure(**fields)
    assert export.rivet("validate").exit_code == 0


@pytest.mark.parametrize("second", ["sas_token_env", "sas_token_file", "connection_string_env", "allow_anonymous"])
def test_two_logins_are_refused_at_load(export: Export, fields: dict[str, object], second: str) -> None:
    export.configure(**fields, **{second: True if second == "allow_anonymous" else "NAME"})
    run = export.rivet("run")
    assert run.exit_code == 2
    assert "account_key_env" in run.err
    assert second in run.err


def test_an_expired_signature_ends_the_run_before_it_begins(
    export: Export, use_sas: Callable[..., dict[str, object]], objects: Callable[[], dict[str, bytes]]
) -> None:
    export.configure(**use_sas("rcwdl", timedelta(hours=-1)))
    run = export.rivet("run")
    assert (run.exit_code, "error[R404]" in run.err, "expired at 20" in run.err) == (1, True, True), run
    assert objects() == {}


def test_a_signature_that_is_over_soon_is_a_warning(
    export: Export, use_sas: Callable[..., dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    export.configure(**use_sas("rcwdl", timedelta(minutes=30)))
    run = export.rivet("run")
    assert run.exit_code == 0, run
    assert "in less than an hour" in caplog.text


def documented(command: str) -> str:
    """The permissions of a signature that the page names for a command, by their letters."""
    (row,) = re.findall(rf"^\| `rivet {command}` \|(.*?)\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return "".join(re.findall(r"`([a-z])`", row))


def test_each_command_needs_what_is_documented(
    export: Export, use_sas: Callable[..., dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    export.configure(**use_sas(documented("run")))
    for _ in range(2):  # the second one moves the first one's parts to quarantine
        run = export.rivet("run", "--validate")
        assert (run.exit_code, "could not" in caplog.text) == (0, False), run
    assert export.rivet("doctor").exit_code == 0
    export.configure(**use_sas(documented("validate")))
    assert export.rivet("validate", "--depth", "full").exit_code == 0


@pytest.mark.parametrize("missing", ["r", "w", "l"])
def test_without_one_permission_nothing_is_published(
    export: Export, use_sas: Callable[..., dict[str, object]], objects: Callable[[], dict[str, bytes]], missing: str
) -> None:
    export.configure(**use_sas(documented("run").replace(missing, "").replace("c", "")))
    run: Any = export.rivet("run")
    assert (run.exit_code, "error[R403]" in run.err, f"`{missing}`" in run.err) == (1, True, True), run
    assert "_SUCCESS" not in objects()
