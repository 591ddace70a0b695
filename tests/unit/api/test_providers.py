"""Credential providers: when a credential is loaded again, and what is said of one that is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from rivet_core.api import ConfigError, Credential, CredentialsExpired, Secret, redact
from rivet_core.api.providers import RefreshingProvider, StaticProvider, secret_from_environment


def credential(number: int, *, minutes: float | None = None) -> Credential:
    expires_at = None if minutes is None else datetime.now(UTC) + timedelta(minutes=minutes)
    return Credential("sas", {"token": Secret(f"token-{number}")}, expires_at)


def loads(*credentials: Credential) -> Callable[[], Credential]:
    return iter(credentials).__next__


def test_a_credential_is_loaded_once_while_it_is_good():
    provider = RefreshingProvider(loads(credential(1, minutes=30)), "sas_token_file")
    assert provider.get() is provider.get()


def test_a_credential_is_replaced_before_it_is_over():
    provider = RefreshingProvider(loads(credential(1, minutes=4), credential(2, minutes=30)), "sas_token_file")
    assert provider.get().values["token"] == Secret("token-1")
    assert provider.get().values["token"] == Secret("token-2")
    assert provider.get().values["token"] == Secret("token-2")


def test_a_refused_credential_is_replaced_although_it_looks_good():
    provider = RefreshingProvider(loads(credential(1), credential(2)), "sas_token_file")
    provider.get()
    assert provider.get(force=True).values["token"] == Secret("token-2")


@pytest.mark.parametrize("kind", [StaticProvider, lambda over, who: RefreshingProvider(lambda: over, who)])
def test_one_that_is_over_is_said_to_be(kind: Callable[[Credential, str], StaticProvider]):
    over = credential(1, minutes=-1)
    assert over.expires_at is not None
    provider = kind(over, "sas_token_env")
    with pytest.raises(CredentialsExpired, match=f"sas_token_env.*{over.expires_at:%Y-%m-%d %H:%M:%S} UTC") as caught:
        provider.get()
    assert caught.value.hint
    assert provider.identity() == "sas_token_env"


def test_a_secret_is_read_from_the_variable_that_the_field_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("THE_KEY", " canary-of-the-environment\n")
    assert secret_from_environment("secret_key_env", "THE_KEY").reveal() == "canary-of-the-environment"
    assert "canary" not in redact("refused: canary-of-the-environment")


@pytest.mark.parametrize("value", ["", " \n", None])
def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None):
    monkeypatch.delenv("THE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("THE_KEY", value)
    with pytest.raises(ConfigError, match=r"secret_key_env.*THE_KEY is not set") as caught:
        secret_from_environment("secret_key_env", "THE_KEY")
    assert "THE_KEY" in caught.value.hint


def test_the_field_must_name_a_variable():
    with pytest.raises(ConfigError, match="secret_key_env must be the name"):
        secret_from_environment("secret_key_env", 7)
