"""What hpbandster's iterations get from the sampler, and what the sampler learns of their jobs."""

from __future__ import annotations

import pytest
from hpbandster.optimizers.iterations import SuccessiveHalving

from master.jobs import TrialJob
from master.kde import KdeSampler
from master.proposals import Proposals
from results.bohb_lines import evaluation_to_info
from results.records import Evaluation, Status, StudySpec, TrialSpec
from spaces import CONFIG_SPACES

STUDY = StudySpec(
    run_id="test",
    optimizer="darts",
    search_space="1",
    config_space="cs1",
    dataset="digits",
    data_dir=None,
    table="digits",
    table_epochs=12,
)


class Learned(KdeSampler):
    """A sampler that notes what it is to learn."""

    def __init__(self) -> None:
        super().__init__(CONFIG_SPACES["cs1"].build(0), seed=0)
        self.observed: list[tuple[dict[str, float], float, float]] = []

    def observe(self, config: dict[str, float], budget: float, loss: float) -> None:  # type: ignore[override]
        self.observed.append((config, budget, loss))


def finished_job(evaluation: Evaluation) -> TrialJob:
    job = TrialJob(
        TrialSpec(study=STUDY, config_id=(0, 0, 0), budget=25, config=dict(CONFIG_SPACES["cs1"].default), seed=1),
        model_based=False,
    )
    for time in ("submitted", "started", "finished"):
        job.time_it(time)
    if evaluation.status is not Status.WORKER_LOST:
        job.report = evaluation_to_info(evaluation)
    return job


@pytest.mark.parametrize(
    ("evaluation", "loss"),
    [
        (Evaluation(status=Status.OK, validation_error=0.25), 0.25),
        (Evaluation(status=Status.DIVERGED, error="x"), 1.0),
        (Evaluation(status=Status.OUT_OF_MEMORY, error="x"), 1.0),
        (Evaluation(status=Status.BAD_CONFIG, error="x"), 1.0),
        (Evaluation(status=Status.WORKER_LOST), None),
        (Evaluation(status=Status.BUG, error="x"), None),
    ],
)
def test_it_learns_what_says_something_about_the_configuration(evaluation: Evaluation, loss: float | None) -> None:
    sampler = Learned()
    job = finished_job(evaluation)
    assert job.outcome.evaluation.status is evaluation.status
    Proposals(sampler).new_result(job)
    expected = [] if loss is None else [(CONFIG_SPACES["cs1"].default, 25, loss)]
    assert sampler.observed == expected


def test_iterations_get_the_default_first_and_the_mark_of_each() -> None:
    proposals = Proposals(KdeSampler(CONFIG_SPACES["cs1"].build(0), seed=0))
    iteration = SuccessiveHalving(0, num_configs=[4, 2], budgets=[25, 50], config_sampler=proposals.get_config)
    runs = [iteration.get_next_run() for _ in range(4)]
    assert runs[0] == ((0, 0, 0), CONFIG_SPACES["cs1"].default, 25)
    assert {tuple(datum.config_info.items()) for datum in iteration.data.values()} == {(("model_based_pick", False),)}
