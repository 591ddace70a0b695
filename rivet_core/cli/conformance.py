"""Reads the verdicts of the conformance kit from a report that ``pytest --rivet-report=FILE`` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rivet_core.api.errors import UsageError

_VERSION: Final = 1
_VERDICTS: Final = frozenset({"passed", "incomplete", "failed"})
# A report of a hundred suites has a few megabytes.
_MAX_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class ConformanceVerdict:
    """What one suite said about one thing that a plugin provides.

    Attributes:
        plugin: name of the distribution that was tested.
        version: its version then.
        kind: ``destination``, ``format``, ``source`` or ``auth resolver``.
        name: the name that a configuration uses.
        verdict: ``passed``, ``incomplete`` or ``failed``.
        kit: version of rivet-core whose kit it was.
    """

    plugin: str
    version: str
    kind: str
    name: str
    verdict: str
    kit: str


def read_verdicts(path: Path) -> list[ConformanceVerdict]:
    """Return the verdicts of a report.

    Raises:
        UsageError: the file cannot be read, or is no report of a version that this release reads.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the report {path}: {error.strerror}", hint="check the path") from None
    try:
        document = json.loads(data)
        if document["report_version"] != _VERSION:
            raise _refused(path, f"has version {document['report_version']!r}, this release reads {_VERSION}")
        return [_verdict(suite, str(document["kit"])) for suite in document["suites"] if suite["plugin"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _refused(path, "is no report of the conformance kit") from None


def _verdict(suite: dict[str, Any], kit: str) -> ConformanceVerdict:
    if suite["verdict"] not in _VERDICTS:
        raise ValueError(suite["verdict"])
    plugin, version, kind, name = (str(suite[field]) for field in ("plugin", "version", "kind", "name"))
    return ConformanceVerdict(plugin, version, kind, name, suite["verdict"], kit)


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} {why}", hint="write one with `pytest --rivet-report=FILE`")
