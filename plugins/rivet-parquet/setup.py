"""Builds the native encoder where a C compiler is; without one the distribution installs all the same.

``RIVET_PARQUET_EXTENSION`` is ``required`` where wheels are made, so that none is published without it, and ``none``
to leave it out. ``RIVET_PARQUET_CFLAGS`` are given to the compiler and the linker, to build with a sanitizer.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from setuptools import Extension, setup

WANTED = os.environ.get("RIVET_PARQUET_EXTENSION", "")
FLAGS = os.environ.get("RIVET_PARQUET_CFLAGS", "-O3").split()
# Nothing is built inside the checkout, so several builds at once do not disturb each other.
WORK = Path(tempfile.mkdtemp(prefix="build-rivet-parquet-"))
(WORK / "info").mkdir()
atexit.register(shutil.rmtree, WORK, ignore_errors=True)

pages = Extension(
    "rivet_parquet._pages",
    ["rivet_parquet/_pages.pyx"],
    extra_compile_args=FLAGS,
    extra_link_args=FLAGS,
    optional=WANTED != "required",
)

setup(
    ext_modules=[] if WANTED == "none" else [pages],
    options={
        "build": {"build_base": str(WORK / "build")},
        "build_ext": {"cython_c_in_temp": True},
        "egg_info": {"egg_base": str(WORK / "info")},
    },
)
