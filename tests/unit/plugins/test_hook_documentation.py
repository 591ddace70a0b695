"""Every hook is documented with an example that runs, and the examples of the interfaces run too."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import rivet_core.api
from rivet_core import hookspecs

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("rivet_")}
MODULES = ["rivet_core.hookspecs", "rivet_core.plugins", "rivet_core.cli.output", "rivet_core.cli.progress"] + [
    f"rivet_core.api.{module.name}" for module in pkgutil.iter_modules(rivet_core.api.__path__)
]


def test_the_hooks_are_those_of_the_interface():
    signatures = {name: list(inspect.signature(hook).parameters) for name, hook in HOOKS.items()}
    assert signatures == {
        "rivet_destinations": [],
        "rivet_formats": [],
        "rivet_auth_resolvers": [],
        "rivet_sources": [],
        "rivet_event": ["event"],
        "rivet_commands": ["group"],
    }


@pytest.mark.parametrize("name", HOOKS)
def test_the_example_of_a_hook_implements_it(name):
    (example,) = doctest.DocTestFinder(recurse=False).find(HOOKS[name], name)
    assert any(f"def {name}(" in statement.source and "@hookimpl" in statement.source for statement in example.examples)
    assert any(statement.want for statement in example.examples), "the example shows no result"


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module):
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0
