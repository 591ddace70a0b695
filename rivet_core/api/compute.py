"""Arrow's functions over whole arrays, loaded when the first is called.

``pyarrow.compute`` makes a wrapper with documentation for each of some hundred functions when it is imported: a
twentieth of the time until a run reads its first row, which a run that needs none of them can do without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final


class _Functions:
    """Has every function of ``pyarrow.compute``."""

    def __getattr__(self, name: str) -> Any:
        import pyarrow.compute

        function = getattr(pyarrow.compute, name)
        setattr(self, name, function)
        return function


#: Stands for ``pyarrow.compute``; its functions are untyped.
compute: Final[Any] = _Functions()


def call_function(name: str, arguments: Sequence[Any]) -> Any:
    """Call one of Arrow's functions as ``pyarrow.compute.call_function`` does, without loading that module."""
    from pyarrow import _compute

    return _compute.call_function(name, list(arguments))
