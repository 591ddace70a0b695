"""How hard the suites search: the hypothesis profiles ``rivet`` and, for nights, ``thorough``.

``pytest --hypothesis-profile=thorough`` selects the second one. A suite takes its settings from here and not from the
profile that is loaded, so the profiles of an author's own tests and of the kit do not meddle with each other.
"""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import InvalidArgument

DEFAULT: Final = "rivet"
THOROUGH: Final = "thorough"

# Requests to a store take their time, whatever hypothesis finds too slow.
# A failure is made short and shown once: nothing is run only to explain it, and the shortest one is enough.
_PATIENT: Final = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[phase for phase in Phase if phase is not Phase.explain],
    report_multiple_bugs=False,
)
_PROFILES: Final = {
    # The same examples each time: a verdict that is published can be repeated.
    DEFAULT: settings(_PATIENT, max_examples=20, stateful_step_count=15, derandomize=True, database=None),
    THOROUGH: settings(_PATIENT, max_examples=400, stateful_step_count=40, print_blob=True),
}


def register() -> None:
    """Make the profiles known to hypothesis, unless the author has profiles of these names."""
    for name, profile in _PROFILES.items():
        try:
            settings.get_profile(name)
        except InvalidArgument:
            settings.register_profile(name, profile)


def kit_settings() -> settings:
    """Return the settings for the suites' machines: ``thorough`` if that profile is loaded, else ``rivet``."""
    register()
    return settings.get_profile(THOROUGH if settings.get_current_profile_name() == THOROUGH else DEFAULT)
