"""The conformance kit: prove that a destination, format, source or auth resolver keeps what Rivet promises.

Needs the extra: ``pip install 'rivet-core[testing]'``. Nothing in the core imports this package, and importing it alone
loads neither pytest nor hypothesis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rivet_core.testing.catalog import Case, proves
from rivet_core.testing.harness import Fault, Harness

if TYPE_CHECKING:
    from rivet_core.testing.auth import AuthHarness, AuthSuite
    from rivet_core.testing.destination import DestinationSuite
    from rivet_core.testing.format import FormatSuite
    from rivet_core.testing.source import SourceHarness, SourceSuite, TypeCase
    from rivet_core.testing.stream import StreamHarness, StreamSuite
    from rivet_core.testing.suite import ExpectedFailure

__all__ = [
    "AuthHarness",
    "AuthSuite",
    "Case",
    "DestinationSuite",
    "ExpectedFailure",
    "Fault",
    "FormatSuite",
    "Harness",
    "SourceHarness",
    "SourceSuite",
    "StreamHarness",
    "StreamSuite",
    "TypeCase",
    "proves",
]

# Suites by the module that holds them; they need pytest and hypothesis, so they load when they are asked for.
_SUITES: dict[str, str] = {
    "AuthHarness": "rivet_core.testing.auth",
    "AuthSuite": "rivet_core.testing.auth",
    "DestinationSuite": "rivet_core.testing.destination",
    "ExpectedFailure": "rivet_core.testing.suite",
    "FormatSuite": "rivet_core.testing.format",
    "SourceHarness": "rivet_core.testing.source",
    "SourceSuite": "rivet_core.testing.source",
    "StreamHarness": "rivet_core.testing.stream",
    "StreamSuite": "rivet_core.testing.stream",
    "TypeCase": "rivet_core.testing.source",
}


def __getattr__(name: str) -> object:
    if name not in _SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_SUITES[name]), name)
    except ModuleNotFoundError as error:
        if error.name in {"pytest", "hypothesis"}:
            raise ImportError(f"{name} needs {error.name}: pip install 'rivet-core[testing]'") from error
        raise
