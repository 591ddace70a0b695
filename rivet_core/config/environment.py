"""``${VAR}`` in the values of a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: ``$${`` is a literal ``${``; else the text between the braces, which are there or not.
_REFERENCE: Final = re.compile(r"\$(?P<literal>\$\{)|\$\{(?P<inner>[^}]*)(?P<end>\}?)")
_INNER: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)


def interpolate(text: str, environ: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """Replace ``${VAR}`` and ``${VAR:-default}`` in ``text``; ``$${`` stays as ``${``.

    The default is used where the variable is not set or empty, as in a shell. What a variable holds is not
    interpolated again.

    >>> interpolate("${HOST}:${PORT:-5432} $${x}", {"HOST": "db"})
    ('db:5432 ${x}', [])

    Returns:
        The new text, and a message with a hint for each reference that means nothing.
    """
    problems = []

    def value(match: re.Match[str]) -> str:
        if match["literal"]:
            return "${"
        inner = _INNER.fullmatch(match["inner"])
        if inner is None or not match["end"]:
            problems.append(("a ${ that is no ${VARIABLE}", "write $${ for a ${ that means itself"))
            return match[0]
        name, default = inner["name"], inner["default"]
        if name not in environ and default is None:
            problems.append((f"the environment variable {name} is not set", f"set it, or write ${{{name}:-default}}"))
            return match[0]
        found = environ.get(name, "")
        return found if found or default is None else default

    return _REFERENCE.sub(value, text), problems
