"""A worker process of the tests: python worker_process.py RUN OBJECTIVE [SENTINEL].

The objectives: ``smooth`` answers at once; ``formula`` after some short epochs, as its configuration and its budget
decide; ``first_hangs`` never answers in the process that is the first to create the sentinel file, with its process id,
and else at once; ``suicide`` ends its process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from master.signals import stop_flag
from results.epoch import EpochRecord
from results.records import Evaluation, Status, TrialSpec
from worker.service import run_worker

EPOCH = EpochRecord(
    epoch=1,
    train_loss=1.0,
    arch_loss=None,
    one_shot_validation_error=0.5,
    learning_rate=0.1,
    cutout_prob=0.0,
    architecture_index=0,
    cell_hash="0" * 32,
    table={},
    search_s=0.0,
)


def smooth(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
) -> Evaluation:
    return Evaluation(status=Status.OK, validation_error=0.5, seed=trial.seed, worker=worker)


def first_hangs(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
) -> Evaluation:
    try:
        with Path(sys.argv[3]).open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return smooth(trial, directory, on_epoch, worker)
    while True:
        time.sleep(0.05)
        assert on_epoch is not None
        assert on_saved is not None
        on_epoch(EPOCH)
        on_saved(EPOCH)


def suicide(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
) -> Evaluation:
    time.sleep(0.2)  # the master counts a loss only after the hand-over
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def formula(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
) -> Evaluation:
    assert on_epoch is not None
    assert on_saved is not None
    for epoch in range(1, 5):
        time.sleep(trial.seed % 97 / 97 * 0.2)
        on_epoch(msgspec.structs.replace(EPOCH, epoch=epoch))
        on_saved(msgspec.structs.replace(EPOCH, epoch=epoch))
    error = min(1.0, abs(float(trial.config["learning_rate"]) - 0.1) + 1 / trial.budget)
    return Evaluation(status=Status.OK, validation_error=error, seed=trial.seed, worker=worker)


OBJECTIVES = {"smooth": smooth, "formula": formula, "first_hangs": first_hangs, "suicide": suicide}

if __name__ == "__main__":
    with stop_flag() as stop:
        print(run_worker(sys.argv[1], objective=OBJECTIVES[sys.argv[2]], stop=stop), flush=True)
