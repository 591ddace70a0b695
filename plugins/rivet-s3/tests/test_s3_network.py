"""The ways to the store that the environment names: a private certificate authority, and HTTP proxies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.certificate import Certificate, new_certificate
from servers.connect_proxy import ConnectProxy
from servers.http_proxy import HttpProxy
from servers.process import HOST, free_port
from servers.seaweedfs import SeaweedFS

#: A name that only the proxy of a test can lead anywhere.
STORE = "s3.rivet.invalid"


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the proxies and the certificate authority of the user who runs the tests."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return new_certificate(tmp_path_factory.mktemp("certificate"), STORE)


@pytest.fixture
def https(seaweedfs: SeaweedFS, certificate: Certificate) -> Iterator[HttpProxy]:
    """SeaweedFS over HTTPS."""
    with HttpProxy(seaweedfs.port, tls=certificate.server_side()) as running:
        yield running


def test_a_private_authority_is_trusted_when_the_environment_names_it(
    place: Any,
    export: Any,
    use_keys: Any,
    https: HttpProxy,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: None,
) -> None:
    export.configure(place, **use_keys(place.server.admin), endpoint=f"https://{HOST}:{https.port}")
    run = export.rivet("run")
    assert run.exit_code == 1
    assert run.err.count("error[R401]") == 1, run
    assert f"the certificate of https://{HOST}:{https.port} is not trusted" in run.err
    assert "AWS_CA_BUNDLE" in run.err
    assert "Traceback" not in run.err
    assert https.exchanges == []
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.certificate))
    run = export.rivet("run", "--validate")
    assert run.exit_code == 0, run
    assert place.get("_SUCCESS").startswith(b"xxh3:")
    assert {exchange.status for exchange in https.exchanges if "/part-" in exchange.path} >= {200}


def test_an_authority_whose_file_is_missing_is_one_clear_error(
    place: Any, export: Any, use_keys: Any, https: HttpProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    export.configure(place, **use_keys(place.server.admin), endpoint=f"https://{HOST}:{https.port}")
    run = export.rivet("run")
    assert run.exit_code == 2
    assert "error[R201]" in run.err, run
    assert "missing.pem" in run.err
    assert "AWS_CA_BUNDLE" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_https_goes_through_the_proxy_of_the_environment(
    place: Any,
    export: Any,
    use_keys: Any,
    https: HttpProxy,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.certificate))
    with ConnectProxy(https.port) as tunnel:
        monkeypatch.setenv(variable, f"http://{HOST}:{tunnel.port}")
        export.configure(place, **use_keys(place.server.admin), endpoint=f"https://{STORE}")
        run = export.rivet("run", "--validate")
    assert run.exit_code == 0, run
    assert set(tunnel.hosts) == {f"{STORE}:443"}
    assert {exchange.headers["host"] for exchange in https.exchanges} == {STORE}
    assert place.get("_SUCCESS").startswith(b"xxh3:")


def test_plain_http_goes_through_the_proxy_of_the_environment(
    place: Any, export: Any, use_keys: Any, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{HOST}:{proxy.port}")
    export.configure(place, **use_keys(place.server.admin))
    run = export.rivet("run", "--validate")
    assert run.exit_code == 0, run
    assert proxy.exchanges
    assert all(exchange.target.startswith(f"{place.server.endpoint}/") for exchange in proxy.exchanges)


def test_no_proxy_leads_past_the_proxy(
    place: Any, export: Any, use_keys: Any, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{HOST}:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", HOST)
    export.configure(place, **use_keys(place.server.admin))
    run = export.rivet("run")
    assert run.exit_code == 0, run
    assert proxy.exchanges == []


def test_a_proxy_that_does_not_answer_is_one_clear_error(
    place: Any, export: Any, use_keys: Any, monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-password@{HOST}:{free_port()}")
    export.configure(place, **use_keys(place.server.admin), endpoint=f"https://{STORE}")
    run = export.rivet("run")
    assert run.exit_code == 1
    assert "error[R407]" in run.err, run
    assert "proxy" in run.err
    assert "HTTPS_PROXY" in run.err
    assert "proxy-password" not in run.err
    assert "Traceback" not in run.err
