"""Runs in the fuzzer's process: puts the instrumented decoder in the place of the ordinary one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from fuzz.memory import exact_pyarrow
from fuzz.targets import TARGETS


def checker() -> Callable[[bytes], None]:
    """Return the function that takes an input of the target that the environment names."""
    target = TARGETS[os.environ["RIVET_FUZZ_TARGET"]]
    spec = spec_from_file_location(target.module, target.binary)
    assert spec is not None
    assert spec.loader is not None
    package, _, name = target.module.rpartition(".")
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.pa = exact_pyarrow()
    sys.modules[target.module] = module
    setattr(import_module(package), name, module)
    return target.checker()
