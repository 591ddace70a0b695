"""The values of ``--param name=value``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rivet_core.api import UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_params(items: Iterable[str]) -> dict[str, str]:
    """Split ``name=value`` items; a value may be empty and may contain ``=``.

    >>> parse_params(["since=2026-01-01", "filter=a=b"])
    {'since': '2026-01-01', 'filter': 'a=b'}

    Raises:
        UsageError: an item without ``=``, a name that no query can use, a name given twice.
    """
    params: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        # The text of a malformed item is not shown: it may be a value.
        if not equals:
            raise UsageError("--param needs name=value", hint='for example --param since=2026-01-01 for "${since}"')
        if not _NAME.fullmatch(name):
            raise UsageError(
                "the name in --param name=value starts with a letter or _ and has letters, digits and _ only",
                hint="use the name that stands in ${…} in the query",
            )
        if name in params:
            raise UsageError(f"--param {name} is given twice", hint="give each parameter once")
        params[name] = value
    return params
