"""What every suite shares: plugins opened through their real entry points, and the author's exceptions to the tests."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NoReturn

import pytest

from rivet_core.api import DestinationSpec
from rivet_core.config import DestinationChoice
from rivet_core.config.auth import choose_auth, resolver_fields, usable_resolvers
from rivet_core.config.validation import load_model
from rivet_core.plugins import Registry, load_registry
from rivet_core.testing.catalog import case_of
from rivet_core.testing.guard import unknown_ids

#: Name under which pytest knows the kit's plugin, from the entry point of rivet-core or from ``-p``.
PLUGIN_NAME = "rivet_core.testing.plugin"


class NotApplicable(pytest.skip.Exception):  # type: ignore[name-defined, misc]  # pytest shows it as an attribute only
    """A test that says nothing about this plugin, as the kit itself has found."""


class Excluded(pytest.skip.Exception):  # type: ignore[name-defined, misc]
    """A test that the author has excluded with a reason."""


def not_applicable(reason: str) -> NoReturn:
    """End a test that says nothing about this plugin; only the kit's own tests may do so."""
    raise NotApplicable(reason)


@dataclass(frozen=True)
class ExpectedFailure:
    """A test that is known to fail. It is strict: another exception, or none at all, fails the suite.

    Attributes:
        raises: the exception, or several.
        reason: why it fails, for the report.
    """

    raises: type[BaseException] | tuple[type[BaseException], ...]
    reason: str


class Suite:
    """Base of all suites.

    Attributes:
        excluded: tests that do not apply, by id, each with the reason. They count in the report as excluded, not as
            passed.
        expected_failures: tests that are known to fail, by id.
        harness_class: what the author's fixture ``harness`` returns, where the suite needs one.
    """

    excluded: ClassVar[Mapping[str, str]] = {}
    expected_failures: ClassVar[Mapping[str, ExpectedFailure]] = {}
    harness_class: ClassVar[type] = object

    @pytest.fixture
    def harness(self) -> object:
        """The author's; see ``harness_class``."""
        name = self.harness_class.__name__
        raise NotImplementedError(f"{type(self).__name__} needs a fixture named harness that returns a {name}")

    @pytest.fixture
    def registry(self) -> Registry:
        """Everything that is installed, found as the command line finds it."""
        return installed()

    @pytest.fixture(autouse=True)
    def _rivet_exceptions(self, request: pytest.FixtureRequest) -> None:
        """Skip what is excluded with a reason, and expect the failures that are expected."""
        if not request.config.pluginmanager.has_plugin(PLUGIN_NAME):
            pytest.fail(
                f"pytest runs without the plugin {PLUGIN_NAME}, which guards this suite: install rivet-core again"
            )
        case = case_of(request.function)
        if case is None:
            return
        if case.id in self.expected_failures:
            expected = self.expected_failures[case.id]
            request.node.add_marker(pytest.mark.xfail(raises=expected.raises, reason=expected.reason, strict=True))
        reason = self.excluded.get(case.id) or self._excluded_by_server(request).get(case.id)
        if reason:
            raise Excluded(reason)

    def _excluded_by_server(self, request: pytest.FixtureRequest) -> Mapping[str, str]:
        """Return what the harness excludes, which may be known only when its server runs."""
        if "harness" not in request.fixturenames:
            return {}
        excluded: Mapping[str, str] = getattr(request.getfixturevalue("harness"), "exclude", {})
        wrong = [id_ for id_, reason in excluded.items() if not reason.strip()] + unknown_ids(excluded, type(self))
        if wrong:
            pytest.fail(f"the harness excludes {', '.join(wrong)}: without a reason, or without a test of that id")
        return excluded


@cache
def installed() -> Registry:
    """Return what is installed; one look per process.

    Raises:
        PluginError: a plugin does not work and ``RIVET_STRICT_PLUGINS`` is set.
    """
    return load_registry()


def fresh_prefix(name: str = "orders") -> str:
    """Return the name of a prefix that nobody has used yet, such as ``kit-3f2a91c07b5d/orders``."""
    return f"kit-{uuid.uuid4().hex[:12]}/{name}"


def choose_destination(registry: Registry, spec: DestinationSpec, fields: Mapping[str, object]) -> DestinationChoice:
    """Validate a destination's fields, login included, as a configuration file's are.

    Args:
        fields: what stands in ``rivet.yaml`` beside ``type``.

    Raises:
        pydantic.ValidationError: the plugin's model refuses the fields.
        ConfigError: no auth resolver fits them, or more than one.
    """
    model = load_model(registry, spec)
    resolvers = usable_resolvers(registry, spec)
    auth = choose_auth(spec, resolvers, fields, model.model_fields)
    login = {"auth"}.union(*map(resolver_fields, resolvers)) if resolvers else set()
    own = {name: value for name, value in fields.items() if name in model.model_fields or name not in login}
    return DestinationChoice(spec, model.model_validate(own), auth, own)
