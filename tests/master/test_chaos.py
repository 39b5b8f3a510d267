"""Workers and masters are killed, ended, stopped and continued at random, writes fail, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from .chaos import EVENTS, Chaos, losses, study


@pytest.mark.parametrize(
    ("seed", "n_workers", "n_iterations", "pause_s"),
    [
        (100, 4, 6, 0.3),
        *(pytest.param(seed, 16, 64, 0.5, marks=pytest.mark.slow) for seed in range(20)),
    ],
)
def test_nothing_is_lost(tmp_path: Path, seed: int, n_workers: int, n_iterations: int, pause_s: float) -> None:
    run = study(tmp_path / "run", seed, n_workers, n_iterations)
    chaos = Chaos(run, n_workers, seed, pause_s)
    chaos.go(limit_s=900)
    schedule = {25: 88, 50: 86, 100: 106} if n_iterations == 64 else {25: 8, 50: 8, 100: 10}
    assert losses(run, schedule) == []
    assert set(chaos.events) == set(EVENTS)
