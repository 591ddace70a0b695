"""Builds the fuzzer of a target: the decoder with sanitizers and coverage, and libFuzzer with Python in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from fuzz.targets import ROOT, Target

_SANITIZERS = "address,undefined"
_FLAGS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
INSTALL = "the fuzzer needs clang with its runtime; on Debian: apt-get install clang-14 libclang-rt-14-dev"


class NoCompiler(Exception):
    """clang is not installed."""


def build(target: Target) -> Path:
    """Return the path of the fuzzer's program, made from the source as it is now.

    Raises:
        NoCompiler: there is no clang.
        subprocess.CalledProcessError: it does not compile.
    """
    clang = shutil.which("clang") or shutil.which("clang-14")
    if clang is None:
        raise NoCompiler(INSTALL)
    target.work.mkdir(parents=True, exist_ok=True)
    include = f"-I{sysconfig.get_path('include')}"
    _run(
        clang,
        *_FLAGS,
        f"-fsanitize=fuzzer-no-link,{_SANITIZERS}",
        include,
        "-w",
        "-fPIC",
        "-shared",
        str(_c_source(target)),
        "-o",
        str(target.binary),
    )
    program = target.work / "fuzzer"
    library = sysconfig.get_config_var("LIBDIR")
    _run(
        clang,
        *_FLAGS,
        f"-fsanitize=fuzzer,{_SANITIZERS}",
        include,
        str(Path(__file__).with_name("driver.c")),
        "-rdynamic",  # the decoder finds the sanitizers and the fuzzer in the program
        f"-L{library}",
        f"-Wl,-rpath,{library}",
        f"-lpython{sysconfig.get_config_var('LDVERSION')}",
        "-o",
        str(program),
    )
    return program


def _c_source(target: Target) -> Path:
    """Write the source with the target's bounds, and what Cython makes of it."""
    package = target.work / target.module.partition(".")[0]
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()  # or Cython would name the module without its package
    sources = [target.source, *target.source.parent.glob("*.pxi")]
    texts = [source.read_text() for source in sources]
    for name, value in target.bounds.items():
        line = re.compile(rf"^    {name} = [^#\n]+", re.MULTILINE)
        assert sum(len(line.findall(text)) for text in texts) == 1, f"there is no longer one constant {name}"
        texts = [line.sub(f"    {name} = {value}", text) for text in texts]
    for source, text in zip(sources, texts, strict=True):
        (package / source.name).write_text(text)
    copy = package / target.source.name
    _run(sys.executable, "-m", "cython", "-3", str(copy))
    return copy.with_suffix(".c")


def environment(target: Target) -> dict[str, str]:
    """Return the variables that the fuzzer's program needs beside the inherited ones."""
    paths = [str(ROOT), *map(str, ROOT.glob("plugins/*/")), *(path for path in sys.path if path.endswith("-packages"))]
    return {
        "RIVET_FUZZ_TARGET": target.name,
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": ":".join(paths),
        "PYTHONMALLOC": "malloc",  # so that the sanitizer knows where an object ends
        # Python keeps much until it ends.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16:malloc_context_size=8",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
