"""The selection of an auth resolver by the fields of a destination."""

from __future__ import annotations

import pytest

TEXT = """\
source: {type: postgres}
exports:
  - name: a
    table: t
    destination:
      type: cloud
      bucket: b
"""


def with_fields(*lines):
    return TEXT + "".join(f"      {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("lines", "resolver", "fields"),
    [
        ([], "default-chain", {}),
        (["allow_anonymous: false"], "default-chain", {}),
        (["account_name: acme"], "default-chain", {}),
        (["allow_anonymous: true"], "anonymous", {"allow_anonymous": True}),
        (["access_key_env: A", "secret_key_env: S"], "static", {"access_key_env": "A", "secret_key_env": "S"}),
        (["sas_token_file: f", "account_name: acme"], "sas", {"sas_token_file": "f", "account_name": "acme"}),
        (["auth: {resolver: vault, vault_path: kv/x}"], "vault", {"vault_path": "kv/x"}),
        (["auth: {resolver: default-chain}"], "default-chain", {}),
        (["vault_path: kv/x", "auth: {resolver: vault}"], "vault", {"vault_path": "kv/x"}),
    ],
)
def test_selected(load_text, lines, resolver, fields):
    destination = load_text(with_fields(*lines)).exports[0].destination
    assert destination.auth.resolver.name == resolver
    assert destination.auth.fields == fields
    assert destination.model.bucket == "b"
    if "account_name" in fields:
        assert destination.model.account_name == "acme"
    assert destination.with_prefix("x").auth == destination.auth


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["access_key_env: A", "secret_key_env: S", "allow_anonymous: true"],
            "two ways to authenticate at once: access_key_env (static) and allow_anonymous (anonymous)",
        ),
        (
            ["allow_anonymous: true", "auth: {resolver: vault, vault_path: x}"],
            "two ways to authenticate at once: allow_anonymous (anonymous) and auth.resolver (vault)",
        ),
        (["access_key_env: A"], "the auth resolver static needs secret_key_env"),
        (["secret_key_env: S"], "secret_key_env means nothing to the auth resolver default-chain"),
        (["allow_anonymous: true", "vault_role: r"], "vault_role means nothing to the auth resolver anonymous"),
        (["sas_token_env: S"], "the auth resolver sas needs account_name"),
        (["auth: {resolver: vault}"], "the auth resolver vault needs vault_path"),
        (["auth: {resolver: vault, vault_pth: x}"], "the auth resolver vault does not know vault_pth"),
        (["auth: {resolver: vualt}"], "no installed plugin provides the auth resolver 'vualt'"),
        (["auth: {resolver: wrong-kind, token_env: T}"], "no installed plugin provides the auth resolver 'wrong-kind'"),
        (["auth: vault"], "auth must be a mapping with the field resolver"),
    ],
)
def test_refused(problems_of, lines, message):
    ((line, field, said, hint),) = problems_of(with_fields(*lines))
    assert (line, field) == (5, "exports[0].destination")
    assert said.startswith(message)
    assert hint


def test_fields_of_a_resolver_that_does_not_fit_are_unknown(problems_of):
    ((line, field, message, _),) = problems_of(with_fields("token_env: T"))
    assert (line, field, message) == (8, "exports[0].destination.token_env", "unknown field")


def test_unknown_fields_beside_resolvers_get_a_suggestion_from_their_fields(problems_of):
    ((_, field, _, hint),) = problems_of(with_fields("alow_anonymous: true"))
    assert field == "exports[0].destination.alow_anonymous"
    assert hint == 'did you mean "allow_anonymous"?'


def test_a_destination_without_resolvers_needs_none(load_text):
    assert load_text(TEXT.replace("cloud", "bucket")).exports[0].destination.auth is None
