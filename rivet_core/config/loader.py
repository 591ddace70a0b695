"""From the text of ``rivet.yaml`` to a ``Config``, with every problem reported at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rivet_core.config.model import Config

if TYPE_CHECKING:
    from rivet_core.plugins import Registry


def load(path: Path, registry: Registry, environ: Mapping[str, str] = os.environ) -> Config:
    """Read, validate and return the configuration.

    Args:
        path: the YAML file.
        registry: the installed plugins, whose models validate their own sections.
        environ: what ``${VAR}`` and ``RIVET_STATE_URL`` are looked up in.

    Raises:
        ConfigProblems: everything that is wrong, each with file, line, field, message and hint.
    """
    raise NotImplementedError
