"""Compiling and loading the kernels."""

import os
import time
from pathlib import Path

import pytest

from nas.oneshot import SearchSpec
from nas.oneshot.model.native import library
from nas.oneshot.resolve import choose_kernels, resolve


@pytest.fixture(autouse=True)
def _loaded_anew():
    """Nothing is remembered from before, and nothing of a test stays."""
    library.library_or_error.cache_clear()
    yield
    library.library_or_error.cache_clear()


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", "cc 'unfinished"])
def test_without_a_compiler_pytorch_computes(compiler, monkeypatch, caplog):
    monkeypatch.setenv("CC", compiler)
    assert choose_kernels(resolve(SearchSpec(device="cpu"))).kernels == "torch"
    assert "PyTorch computes the cells, more slowly" in caplog.text
    with pytest.raises(ValueError, match=r"kernels: got 'native', but .*; choose 'auto' or 'torch'"):
        choose_kernels(resolve(SearchSpec(device="cpu", kernels="native")))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("false", "false cannot compile the kernels: it ended with status 1"),
        ("cc 'unfinished", "CC is no command: No closing quotation"),
        ("no-such-compiler", "the kernels cannot be compiled and loaded: .*no-such-compiler"),
    ],
)
def test_a_compiler_that_does_not_work_is_named_with_the_reason(command, said, monkeypatch):
    monkeypatch.setenv("CC", command)
    with pytest.raises(library.NativeKernelsError, match=said):
        library.load()


def test_no_compiler_named_is_the_usual_one(monkeypatch):
    monkeypatch.setenv("CC", "")
    assert library.load().sum_terms


def test_a_relative_cache_folder_holds_kernels(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASBOHB_CACHE", "kept")
    assert library.load().sum_terms
    assert len(list((tmp_path / "kept").glob("kernels-*.so"))) == 1


def test_what_is_compiled_is_kept_and_shared(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("NASBOHB_CACHE", str(tmp_path))
    library.load()
    (kept,) = tmp_path.iterdir()
    library.library_or_error.cache_clear()
    monkeypatch.setattr(library, "_compile", lambda *_: pytest.fail("it is there"))
    library.load()
    assert list(tmp_path.iterdir()) == [kept]


def test_libraries_unused_for_long_are_removed_when_another_is_made(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("NASBOHB_CACHE", str(tmp_path))
    day = 24 * 3600
    ages = {"kernels-old.so": 100, "kernels-recent.so": 10, "table.nbt": 1000}
    for name, days in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - days * day,) * 2)
    library.load()
    names = {path.name for path in tmp_path.iterdir()}
    assert names & set(ages) == {"kernels-recent.so", "table.nbt"}
    (made,) = names - set(ages)
    os.utime(tmp_path / made, (time.time() - 100 * day,) * 2)
    library.library_or_error.cache_clear()
    library.load()  # which counts as use
    library._remove_unused(tmp_path)
    assert (tmp_path / made).exists()


def test_a_failure_is_remembered(monkeypatch, tmp_path: Path):
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\necho >> {tmp_path}/calls\necho error: broken >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    errors = []
    for _ in range(2):
        with pytest.raises(library.NativeKernelsError, match="broken") as raised:
            library.load()
        errors.append(raised.value)
    assert errors[0] is errors[1]
    assert (tmp_path / "calls").read_text() == "\n"


@pytest.mark.parametrize(
    "damage", [lambda whole: b"garbage", lambda whole: whole[: len(whole) // 2], lambda whole: b""]
)
def test_a_damaged_library_is_compiled_anew(damage, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("NASBOHB_CACHE", str(tmp_path / "whole"))
    library.load()
    (whole,) = (tmp_path / "whole").iterdir()
    damaged = tmp_path / "damaged" / whole.name  # elsewhere: what is loaded would be found by its path
    damaged.parent.mkdir()
    damaged.write_bytes(damage(whole.read_bytes()))
    monkeypatch.setenv("NASBOHB_CACHE", str(damaged.parent))
    library.library_or_error.cache_clear()
    assert library.load().sum_terms
    assert list(damaged.parent.iterdir()) == [damaged]
    assert library._is_whole(damaged)


X86 = """processor : 0
vendor_id : AuthenticAMD
model name : AMD EPYC
cpu MHz : {mhz}
flags : fpu avx2
bogomips : {bogomips}
"""
ARM = """processor : 0
BogoMIPS : 50.00
Features : fp asimd{features}
CPU implementer : 0x41
CPU part : {part}
"""


def test_processors_of_one_kind_share_a_library():
    described = library._processor(X86.format(mhz=2400.0, bogomips=4800.0))
    assert described == library._processor(X86.format(mhz=3100.5, bogomips=4801.2))
    assert described != library._processor(X86.format(mhz=2400.0, bogomips=4800.0).replace("avx2", "avx2 avx512f"))


def test_processors_of_other_kinds_do_not(monkeypatch):
    kinds = [("", "0xd0c"), (" sve", "0xd0c"), ("", "0xd40")]
    described = {library._processor(ARM.format(features=features, part=part)) for features, part in kinds}
    assert len(described) == 3
    x86 = X86.format(mhz=1, bogomips=1)
    here = library._processor(x86)
    monkeypatch.setattr("platform.machine", lambda: "another")
    assert library._processor(x86) != here
