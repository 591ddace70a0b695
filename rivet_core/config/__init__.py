"""From ``rivet.yaml`` to validated models."""

from rivet_core.config.loader import load
from rivet_core.config.model import (
    AuthChoice,
    Chunking,
    Config,
    DestinationChoice,
    ExportConfig,
    FormatChoice,
    Incremental,
    SourceConfig,
    TimeWindow,
)
from rivet_core.config.params import parse_params
from rivet_core.config.placeholders import Placeholders, placeholders_in, resolve
from rivet_core.config.problems import ConfigProblems, Problem

__all__ = [
    "AuthChoice",
    "Chunking",
    "Config",
    "ConfigProblems",
    "DestinationChoice",
    "ExportConfig",
    "FormatChoice",
    "Incremental",
    "Placeholders",
    "Problem",
    "SourceConfig",
    "TimeWindow",
    "load",
    "parse_params",
    "placeholders_in",
    "resolve",
]
