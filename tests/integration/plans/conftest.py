"""A directory to plan and apply in."""

from __future__ import annotations

from integration.failures.conftest import forks, workspace  # noqa: F401
