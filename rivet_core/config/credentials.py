"""Credentials that a configuration holds are made known to the redactor before anything can show them."""

from __future__ import annotations

import re
from urllib.parse import unquote

from rivet_core.api import register_secret

# From the user name to the last @: what a password with an unescaped @ or / really is.
_PASSWORD = re.compile(r"[^:/?#]+://[^:/@]*:(?P<password>.*)@", re.DOTALL)
_PARAMETER = re.compile(r"[?&][^=&#]*(?:pass|pwd|secret|token)[^=&#]*=(?P<password>[^&#]*)", re.IGNORECASE)


def register_url_credentials(url: str) -> None:
    """Register the password of a URL, also of a malformed one, as written and decoded."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        register_secret(url)
    else:
        if parsed.password:
            register_secret(str(parsed.password))
    for pattern in (_PASSWORD, _PARAMETER):
        for match in pattern.finditer(url):
            register_secret(match["password"])
            register_secret(unquote(match["password"]))


def register_credentials(data: object) -> None:
    """Register every value of a ``url`` or ``password…`` field in ``data``, at any depth.

    Fields that end in ``_env`` or ``_file`` name where a secret is and are no secret themselves.
    """
    if isinstance(data, list):
        for item in data:
            register_credentials(item)
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if isinstance(value, dict | list):
            register_credentials(value)
        elif value is None or key.endswith(("_env", "_file")):
            continue
        elif key == "url" and isinstance(value, str):
            register_url_credentials(value)
        elif key.startswith("password"):
            register_secret(str(value))
