"""Compiling the C sources for this machine, once, and loading it.

The compiler is ``$CC``, or ``cc``.  What it makes lies in ``nas.tabular.cache.cache_folder`` under a name made of the
sources, the compiler, its options and the processor: machines that share a home do not run each other's code.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from pathlib import Path

import torch  # noqa: F401  # loads the OpenMP runtime that the kernels share with it

from nas.tabular.cache import cache_folder

_FOLDER = Path(__file__).parent
_SOURCES = ("kernels.c", "winograd.c")
_HEADERS = ("vectors.h",)
_OPTIONS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
_COMPILE_SECONDS = 120


class NativeKernelsError(RuntimeError):
    """The kernels cannot be compiled or loaded here."""


@functools.cache
def load() -> ctypes.CDLL:
    """The compiled kernels.

    Raises:
        NativeKernelsError: There is no C compiler with OpenMP, or its code does not load.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        version = _run([*compiler, "--version"])
        sources = [(_FOLDER / name).read_bytes() for name in (*_SOURCES, *_HEADERS)]
        key = hashlib.sha256(b"\0".join([*sources, version, " ".join(_OPTIONS).encode(), _processor()]))
        library = cache_folder() / f"kernels-{key.hexdigest()[:24]}.so"
        if not library.exists():
            _compile(compiler, library)
        return ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        said = next((line for line in lines if "error" in line), " ".join(lines[:1]))
        raise NativeKernelsError(f"{shlex.join(compiler)} cannot compile the kernels: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeKernelsError(f"the kernels cannot be compiled and loaded: {error}") from error


def _compile(compiler: list[str], library: Path) -> None:
    """Compiles beside the library's place, and moves it there whole: others may be at the same."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        linked = Path(folder, "kernels.so")
        objects = []
        for name in _SOURCES:
            objects.append(str(Path(folder, name).with_suffix(".o")))
            _run([*compiler, *_OPTIONS, "-c", str(_FOLDER / name), "-o", objects[-1]])
        # Without -fopenmp here: a second OpenMP runtime would bring a second set of threads.
        _run([*compiler, "-shared", *objects, "-o", str(linked), "-lm"])
        linked.replace(library)


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, timeout=_COMPILE_SECONDS).stdout


def _processor() -> bytes:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n\n")[0].splitlines()
    except OSError:
        return platform.processor().encode()
    return b"\n".join(line for line in lines if line.startswith((b"vendor", b"cpu family", b"model", b"flags")))
