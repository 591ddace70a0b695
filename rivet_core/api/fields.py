"""Types of configuration fields that the core and plugins share. Needs pydantic, so ``rivet_core.api`` loads it not."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS: Final = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4} | {
    "Ki": 1024,
    "Mi": 1024**2,
    "Gi": 1024**3,
    "Ti": 1024**4,
}
_SIZE: Final = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)\s*((?P<unit>[KMGT]i?|)B)?")


def parse_size(value: object) -> object:
    """Return a size in bytes from an integer or from text such as ``256MB`` (10^6) or ``64MiB`` (2^20).

    >>> parse_size("64MiB")
    67108864

    Raises:
        PydanticCustomError: it is no size, or less than one byte.
    """
    size: Decimal | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = Decimal(value)
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        size = Decimal(match["number"]) * _UNITS[match["unit"] or ""]
    if size is None or size < 1 or size != int(size):
        raise PydanticCustomError(
            "size", "must be a size of at least one byte", {"hint": "write it as 256MB, 64MiB or a number of bytes"}
        )
    return int(size)


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(([KMGT]i?)?B)?\s*$"},
            ]
        }
    ),
]
