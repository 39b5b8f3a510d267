"""Real searches on the command line: the master is killed by -9 and resumed, and nothing differs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import run_bohb
from results.journal import read
from results.reading import read_results
from results.run_directory import RunDirectory

ROOT = Path(run_bohb.__file__).parent
TINY = ("init_channels=2", "cells_per_stack=1", "n_stacks=2", "threads=1", "batch_size=32")
STUDY = ("--min-budget", "1", "--max-budget", "2", "--iterations", "3", "--workers", "1", "--dataset", "digits")


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    with (cwd / "output.txt").open("a") as output:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "run_bohb.py"), *arguments],
            cwd=cwd,
            stdout=output,
            stderr=output,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def history(path: Path) -> list[Any]:
    """All of the results but times and names."""
    return [
        (r.config_id, r.config, r.model_based, r.budget, r.evaluation.seed, r.evaluation.architecture_index,
         r.evaluation.one_shot_validation_error, r.evaluation.validation_error)
        for r in read_results(RunDirectory.open(path))
    ]  # fmt: skip


def wait_for_results(path: Path, n: int) -> None:
    deadline = time.monotonic() + 120
    while len(read(path / "results.json")) < n:
        assert time.monotonic() < deadline, f"no {n} results in 120 s"
        time.sleep(0.02)


def test_a_study_whose_master_is_killed_comes_to_the_same(tmp_path: Path) -> None:
    """`study` with its own worker, and `master` with a `worker` beside it that outlives it."""
    search = ("--search", *TINY)
    assert start("study", "--run-dir", "whole", *STUDY, *search, cwd=tmp_path).wait(timeout=200) == 0
    expected = history(tmp_path / "whole")
    assert len(expected) == 8

    study = start("study", "--run-dir", "study", *STUDY, *search, cwd=tmp_path)
    wait_for_results(tmp_path / "study", 3)
    study.kill()
    assert study.wait(timeout=20) == -signal.SIGKILL
    assert start("study", "--resume", "study", cwd=tmp_path).wait(timeout=200) == 0
    assert history(tmp_path / "study") == expected

    worker = start("worker", "master", "--wait-s", "120", cwd=tmp_path)
    master = start("master", "--run-dir", "master", "--host", "127.0.0.1", *STUDY, *search, cwd=tmp_path)
    wait_for_results(tmp_path / "master", 2)
    master.kill()
    master.wait(timeout=20)
    master = start("master", "--resume", "master", "--host", "127.0.0.1", cwd=tmp_path)
    assert master.wait(timeout=200) == 0
    assert worker.wait(timeout=20) == 0
    assert history(tmp_path / "master") == expected
    assert json.loads((tmp_path / "master" / "status.json").read_text())["ending"] == "finished"
    assert len({r.evaluation.worker for r in read_results(RunDirectory.open(tmp_path / "master"))}) == 1
