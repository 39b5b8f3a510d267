"""Compiling the C sources for this machine, once, and loading it.

The compiler is ``$CC``, or ``cc``.  What it makes lies in ``nas.cache.cache_folder`` under a name made of the
sources, the compiler, its options and the processor: machines that share a home do not run each other's code.  Behind
the library the file holds its digest: loading one whose end is missing would kill the process.  Libraries that no
process has loaded for long, those of earlier versions, are removed when another is made.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

import torch  # noqa: F401  # loads the OpenMP runtime that the kernels share with it

from nas.cache import cache_folder
from results.atomic_file import write_atomically

_FOLDER = Path(__file__).parent
_SOURCES = ("terms.c", "products.c", "normalisation.c", "product_gradients.c", "pooling.c", "winograd.c")
_HEADERS = ("vectors.h", "parts.h", "terms.h", "products.h", "normalisation.h", "windows.h")
_OPTIONS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
_COMPILE_SECONDS = 120
_UNUSED_SECONDS = 90 * 24 * 3600
_DIGEST_BYTES = 32
#: The fields of /proc/cpuinfo that say what ``-march=native`` means, on x86 and on ARM.
_PROCESSOR_FIELDS = frozenset(
    {"vendor_id", "cpu family", "model", "model name", "flags"}
    | {"CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"}
)


class NativeKernelsError(RuntimeError):
    """The kernels cannot be compiled or loaded here."""


def load() -> ctypes.CDLL:
    """The compiled kernels, loaded once; where that failed, no compiler is called again, either.

    Raises:
        NativeKernelsError: There is no C compiler with OpenMP, or its code does not load.
    """
    outcome = library_or_error()
    if isinstance(outcome, NativeKernelsError):
        raise outcome.with_traceback(None)  # without the lines of earlier calls
    return outcome


@functools.cache
def library_or_error() -> ctypes.CDLL | NativeKernelsError:
    """What ``load`` returns or raises."""
    try:
        return _library()
    except NativeKernelsError as error:
        return error


def _library() -> ctypes.CDLL:
    try:
        compiler = shlex.split(os.environ.get("CC") or "cc")
    except ValueError as error:
        raise NativeKernelsError(f"CC is no command: {error}") from error
    try:
        library = cache_folder() / f"kernels-{_key(compiler)[:24]}.so"
        if not _is_whole(library):
            _compile(compiler, library)
            _remove_unused(library.parent)
        with contextlib.suppress(OSError):  # of someone else, or on a disk that cannot be written
            os.utime(library)
        return ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        said = (
            next((line for line in lines if "error" in line), " ".join(lines[:1]))
            or f"it ended with status {error.returncode}"
        )
        raise NativeKernelsError(f"{shlex.join(compiler)} cannot compile the kernels: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeKernelsError(f"the kernels cannot be compiled and loaded: {error}") from error


def _key(compiler: list[str]) -> str:
    sources = [(_FOLDER / name).read_bytes() for name in (*_SOURCES, *_HEADERS)]
    version = _run([*compiler, "--version"])
    parts = [*sources, version, " ".join(_OPTIONS).encode(), _processor(_cpuinfo()).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return f"model name: {platform.processor()}"


def _processor(cpuinfo: str) -> str:
    """What ``-march=native`` depends on; an ARM machine may have processors of several kinds."""
    lines = {line for line in cpuinfo.splitlines() if line.partition(":")[0].strip() in _PROCESSOR_FIELDS}
    return "\n".join([platform.machine(), *sorted(lines)])


def _is_whole(library: Path) -> bool:
    try:
        content = library.read_bytes()
    except FileNotFoundError:
        return False
    return content.endswith(_digest(content[:-_DIGEST_BYTES]))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _compile(compiler: list[str], library: Path) -> None:
    """Compiles, and puts the library in its place whole: others may be at the same."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        linked = Path(folder, "kernels.so")
        objects = []
        for name in _SOURCES:
            objects.append(str(Path(folder, name).with_suffix(".o")))
            _run([*compiler, *_OPTIONS, "-c", str(_FOLDER / name), "-o", objects[-1]])
        # Without -fopenmp here: a second OpenMP runtime would bring a second set of threads.
        _run([*compiler, "-shared", *objects, "-o", str(linked), "-lm"])
        content = linked.read_bytes()
    write_atomically(library, content + _digest(content))


def _remove_unused(folder: Path) -> None:
    now = time.time()
    for library in folder.glob("kernels-*.so"):
        with contextlib.suppress(OSError):
            if now - library.stat().st_mtime > _UNUSED_SECONDS:
                library.unlink()


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, timeout=_COMPILE_SECONDS).stdout
