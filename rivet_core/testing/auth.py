"""The suite of auth resolvers: the right credential, a fresh one when it is asked for, and no secret in sight."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, cast

import pytest

from rivet_core.api import (
    AuthResolverSpec,
    ConfigError,
    Credential,
    DestinationSpec,
    NativeAuth,
    Provider,
    RivetError,
    Secret,
    redact,
)
from rivet_core.config.auth import choose_auth, resolver_fields, usable_resolvers
from rivet_core.config.validation import load_model
from rivet_core.plugins import Registry
from rivet_core.testing.catalog import proves
from rivet_core.testing.suite import Suite, not_applicable

__all__ = ["AuthHarness", "AuthSuite"]


@dataclass(frozen=True)
class AuthHarness:
    """What a resolver is tested with: a service of the author's that hands out credentials, or an environment.

    Attributes:
        fields: the fields of a destination in ``rivet.yaml`` that select the resolver and that it needs.
        secrets: returns the secret values of the credential that is valid now.
        refused: fields with which there is no credential: a variable that is not set, a path that does not exist.
        rotate: makes the last credential invalid and another one valid, without a word to the resolver; ``None`` for
            credentials that never change.
        expire: lets the last credential's time run out, by the clock that the resolver reads, and another one be valid;
            ``None`` for credentials without an end.
        exclude: ids of tests that this *service* cannot show, each with the reason.
    """

    fields: Mapping[str, object]
    secrets: Callable[[], Sequence[str]]
    refused: Mapping[str, object]
    rotate: Callable[[], object] | None = None
    expire: Callable[[], object] | None = None
    exclude: Mapping[str, str] = field(default_factory=dict)


class AuthSuite(Suite):
    """Proves that a resolver gives the right credential and keeps it secret. Subclass it and give a harness.

    Attributes:
        resolver: its name, as ``auth.resolver`` says it; found through the entry point of the installed plugin.
        destination: type of an installed destination that it serves.
    """

    harness_class = AuthHarness
    resolver: ClassVar[str]
    destination: ClassVar[str]

    @pytest.fixture
    def destination_spec(self, registry: Registry) -> DestinationSpec:
        """What the destination's plugin says about it."""
        return registry.destination(self.destination)

    @pytest.fixture
    def spec(self, registry: Registry) -> AuthResolverSpec:
        """What the plugin says about its resolver."""
        found = {spec.name: spec for spec in registry.auth_resolvers(self.destination)}
        if self.resolver not in found:
            pytest.fail(
                f"no installed plugin provides the auth resolver {self.resolver!r} for {self.destination!r}; "
                f"there are {sorted(found)}"
            )
        return found[self.resolver]

    @pytest.fixture
    def resolve(self, registry: Registry, spec: AuthResolverSpec) -> Callable[[Mapping[str, object]], Any]:
        """Call the plugin's factory as a run does."""
        factory = cast("Callable[[Mapping[str, object], str], object]", registry.load(spec, "factory"))

        def call(fields: Mapping[str, object]) -> object:
            known = {name: value for name, value in fields.items() if name in resolver_fields(spec)}
            return factory(known, self.destination)

        return call

    @pytest.fixture
    def provider(self, resolve: Callable[[Mapping[str, object]], Any], harness: AuthHarness) -> Provider:
        """The plugin's provider; for an SDK's own credential there is none."""
        resolved = resolve(harness.fields)
        if isinstance(resolved, NativeAuth):
            not_applicable("the SDK refreshes its own credential")
        return cast("Provider", resolved)

    @proves(
        "A-SELECT-1",
        breaks="the resolver cannot be configured, or another one is used instead",
        hint="selects_on, requires and optional name all fields that the factory reads, and no others",
    )
    def test_its_fields_select_it(
        self, registry: Registry, spec: AuthResolverSpec, destination_spec: DestinationSpec, harness: AuthHarness
    ) -> None:
        assert set(harness.fields) <= resolver_fields(spec), "the harness gives fields that the spec does not name"
        choice = _choose(registry, destination_spec, harness.fields)
        assert choice is not None
        assert choice.resolver.name == self.resolver
        assert choice.fields == harness.fields
        named = _choose(registry, destination_spec, {"auth": {"resolver": self.resolver, **harness.fields}})
        assert named is not None
        assert named.fields == harness.fields

    @proves(
        "A-SELECT-2",
        breaks="a run starts with half a configuration and fails at the store, with the store's message",
        hint="name in requires every field that must be there beside selects_on",
    )
    def test_a_missing_field_is_refused_at_load(
        self, registry: Registry, spec: AuthResolverSpec, destination_spec: DestinationSpec, harness: AuthHarness
    ) -> None:
        if not spec.requires:
            not_applicable("the resolver requires no further fields")
        for name in spec.requires:
            fields = {other: value for other, value in harness.fields.items() if other != name}
            with pytest.raises(ConfigError, match=name):
                _choose(registry, destination_spec, {"auth": {"resolver": self.resolver, **fields}})

    @proves(
        "A-KIND-1",
        breaks="the destination gets a credential that it cannot use",
        hint="produces is one of the kinds in the destination's accepts, and Credential.kind is what produces says",
    )
    def test_the_credential_is_of_the_kind_that_the_spec_says(
        self,
        spec: AuthResolverSpec,
        destination_spec: DestinationSpec,
        resolve: Callable[[Mapping[str, object]], Any],
        harness: AuthHarness,
    ) -> None:
        resolved = resolve(harness.fields)
        if spec.produces == "native":
            assert isinstance(resolved, NativeAuth)
            assert resolved.sdk_object is not None
            return
        assert spec.produces in destination_spec.accepts
        credential = resolved.get()
        assert isinstance(credential, Credential)
        assert credential.kind == spec.produces

    @proves(
        "A-GET-1",
        breaks="the store refuses every request",
        hint="get() returns the values that are valid now, each a Secret under the name that the kind prescribes",
    )
    def test_the_credential_holds_the_secrets(self, provider: Provider, harness: AuthHarness) -> None:
        credential = provider.get()
        plain = sorted(name for name, value in credential.values.items() if not isinstance(value, Secret))
        assert not plain, f"these values are no Secret: {plain}"
        _check_credential(credential, harness)

    @proves(
        "A-GET-2",
        breaks="uploads in several threads fail or get half a credential",
        hint="guard what is cached with a lock; get() is called from several threads at once",
    )
    def test_many_threads_get_the_same(self, provider: Provider, harness: AuthHarness) -> None:
        with ThreadPoolExecutor(8) as threads:
            for credential in threads.map(lambda number: provider.get(force=number % 4 == 0), range(32)):
                _check_credential(credential, harness)

    @proves(
        "A-FRESH-1",
        breaks="a run dies in the middle because its credential was replaced",
        hint="get(force=True) asks the service again and hands out nothing that is cached",
    )
    def test_force_gets_a_fresh_one(self, provider: Provider, harness: AuthHarness) -> None:
        if harness.rotate is None:
            not_applicable("the harness does not rotate credentials")
        provider.get()
        harness.rotate()
        _check_credential(provider.get(force=True), harness)
        _check_credential(provider.get(), harness)

    @proves(
        "A-FRESH-2",
        breaks="a run that takes longer than its credential dies",
        hint="compare expires_at with the clock in get(), with a margin, and ask again before it is over",
    )
    def test_an_expired_one_is_replaced(self, provider: Provider, harness: AuthHarness) -> None:
        if harness.expire is None:
            not_applicable("the harness does not let credentials expire")
        assert provider.get().expires_at is not None
        harness.expire()
        _check_credential(provider.get(), harness)

    @proves(
        "A-ERROR-1",
        breaks="a typing error in the configuration ends in a traceback, or in a login with nothing",
        hint="raise ConfigError or CredentialsExpired, with a hint, in the factory or in get()",
    )
    def test_no_credential_is_one_clear_error(
        self, resolve: Callable[[Mapping[str, object]], Any], harness: AuthHarness
    ) -> None:
        with pytest.raises(RivetError) as caught:
            _resolve_and_get(resolve, harness.refused)
        assert caught.value.message
        assert caught.value.hint
        _check_hidden(harness, str(caught.value.args), caught.value.hint)

    @proves(
        "A-IDENTITY-1",
        breaks="rivet doctor cannot say who logs in, or shows a secret",
        hint="identity() is one line: a user, a role, the name of a variable or a file",
    )
    def test_the_identity_is_no_secret(
        self, resolve: Callable[[Mapping[str, object]], Any], harness: AuthHarness
    ) -> None:
        resolved = resolve(harness.fields)
        identity = resolved.identity if isinstance(resolved, NativeAuth) else resolved.identity()
        assert isinstance(identity, str)
        assert identity.strip()
        assert "\n" not in identity
        _check_hidden(harness, identity)

    @proves(
        "A-SECRET-1",
        breaks="credentials end up in logs and error reports",
        hint="wrap each value in Secret as soon as it is read, keep no other copy, log nothing of it",
    )
    def test_no_secret_in_repr_or_log(
        self,
        resolve: Callable[[Mapping[str, object]], Any],
        harness: AuthHarness,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            resolved = resolve(harness.fields)
            shown = [repr(resolved), str(resolved)]
            if not isinstance(resolved, NativeAuth):
                credential = resolved.get()
                shown += [repr(credential), str(credential), str(dict(credential.values)), repr(resolved)]
        _check_hidden(harness, *shown, *(record.getMessage() for record in caplog.records))

    @proves(
        "A-SECRET-2",
        breaks="an error message of the store shows the credential, because the redactor does not know it",
        hint="Secret makes its value known to the redactor; call register_secret for what you derive from it",
    )
    def test_the_redactor_knows_the_secrets(
        self, resolve: Callable[[Mapping[str, object]], Any], harness: AuthHarness
    ) -> None:
        resolved = resolve(harness.fields)
        if not isinstance(resolved, NativeAuth):
            resolved.get()
        for secret in harness.secrets():
            assert secret not in redact(f"refused: {secret}"), "a secret of the credential passes the redactor"


def _choose(registry: Registry, spec: DestinationSpec, fields: Mapping[str, object]) -> Any:
    return choose_auth(spec, usable_resolvers(registry, spec), fields, load_model(registry, spec).model_fields)


def _resolve_and_get(resolve: Callable[[Mapping[str, object]], Any], fields: Mapping[str, object]) -> None:
    resolved = resolve(fields)
    if not isinstance(resolved, NativeAuth):
        resolved.get()


def _check_credential(credential: Credential, harness: AuthHarness) -> None:
    """Check that a credential is the one that is valid now."""
    revealed = {value.reveal() if isinstance(value, Secret) else value for value in credential.values.values()}
    missing = [index for index, secret in enumerate(harness.secrets()) if secret not in revealed]
    assert not missing, f"the credential does not hold the secrets {missing} (counted from 0) that are valid now"
    if credential.expires_at is not None:
        assert credential.expires_at.tzinfo is not None, "expires_at has no time zone"
        assert credential.expires_at > datetime.now(UTC), "the credential is over already"


def _check_hidden(harness: AuthHarness, *shown: str) -> None:
    """Check that no text shows a secret; the secret is not in the assertion's own message either."""
    leaks = [index for index, secret in enumerate(harness.secrets()) if any(secret in text for text in shown)]
    assert not leaks, f"the secrets {leaks} (counted from 0) are shown"
