"""GPUs by their names, as `nvidia-smi -L` lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from master.commands.study import Study
from worker.launch.gpus import gpu_environments

TWO = (
    "GPU 0: NVIDIA A100 (UUID: GPU-5c1c2f2e-0000-1111-2222-333344445555)\n"
    "GPU 1: NVIDIA A100 (UUID: GPU-9d3b7a10-0000-1111-2222-333344445555)\n"
)
#: The first GPU is divided; programs may use its parts alone.
DIVIDED = TWO.replace(
    "GPU 1",
    "  MIG 3g.40gb Device 0: (UUID: MIG-aaaa0000-1111)\n  MIG 3g.40gb Device 1: (UUID: MIG-bbbb0000-1111)\nGPU 1",
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an `nvidia-smi` that says what the file holds."""
    program, listed = tmp_path / "nvidia-smi", tmp_path / "listed"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && cat {listed}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listed.write_text(TWO)
    return listed


def seen(gpus: str, workers_per_gpu: int = 1) -> list[str]:
    return [environment["CUDA_VISIBLE_DEVICES"] for environment in gpu_environments(gpus, workers_per_gpu)]


def test_each_worker_sees_one_gpu(machine: Path) -> None:
    assert seen("all") == ["0", "1"]
    assert seen("1") == ["1"]
    assert seen("1, 0", 2) == ["1", "1", "0", "0"]
    assert seen("GPU-9d3b7a10-0000-1111-2222-333344445555") == ["GPU-9d3b7a10-0000-1111-2222-333344445555"]
    assert gpu_environments(None, 1) == []


def test_all_are_those_that_a_scheduler_has_given(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert seen("all", 2) == ["1", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match="--gpus: CUDA_VISIBLE_DEVICES is empty"):
        seen("all")


def test_a_divided_gpu_counts_as_its_parts(machine: Path) -> None:
    machine.write_text(DIVIDED)
    assert seen("all") == ["MIG-aaaa0000-1111", "MIG-bbbb0000-1111", "1"]
    with pytest.raises(ValueError, match="expected all, or different ones of MIG-aaaa0000-1111, MIG-bbbb0000-1111, 1;"):
        seen("0")


@pytest.mark.parametrize("gpus", ["2", "0,0", "", "0,", "first"])
def test_gpus_that_are_not_there_are_refused(machine: Path, gpus: str) -> None:
    """A search that saw no GPU would run on the processors without a word."""
    with pytest.raises(
        ValueError, match=r"--gpus: got .* expected all, or different ones of 0, 1; see `nvidia-smi -L`"
    ):
        seen(gpus)


@pytest.mark.parametrize("n", [0, -1])
def test_a_number_of_workers_is_positive(machine: Path, n: int) -> None:
    with pytest.raises(ValueError, match=f"--workers-per-gpu: got {n}, expected at least 1"):
        seen("all", n)


def test_workers_per_gpu_want_gpus(machine: Path) -> None:
    with pytest.raises(ValueError, match="--workers-per-gpu: got 2 without --gpus"):
        gpu_environments(None, 2)


def test_a_machine_without_gpus_is_told_in_a_sentence(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write_text("")
    with pytest.raises(ValueError, match=r"--gpus: this machine has no GPU .*lists none.*leave the option out"):
        seen("all")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match=r"--gpus: this machine has no GPU \(`nvidia-smi -L`: No such file"):
        seen("0")


def test_a_study_is_planned_for_the_workers_on_its_gpus(machine: Path) -> None:
    study = Study(gpus="all", workers_per_gpu=3)
    assert study.spec("x").n_workers == 6
    assert [e["CUDA_VISIBLE_DEVICES"] for e in study.environments(6)] == ["0", "0", "0", "1", "1", "1"]
    assert Study(workers=5).spec("x").n_workers == len(Study(workers=5).environments(5)) == 5
    with pytest.raises(ValueError, match="--workers: got 5 for 6 workers on GPUs; leave it out"):
        Study(gpus="all", workers_per_gpu=3, workers=5).spec("x")
