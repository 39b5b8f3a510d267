"""The tuner without a network: counts, order, failures, and a replay of any prefix of its journal."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from master.brackets import ladder
from master.samplers import SAMPLERS, Sampler, make_sampler
from master.tuner import Tuner, trial_seed
from results.records import ConfigId, Evaluation, Proposal, Status, StudySpec, TrialResult, TrialSpec, Value
from spaces import CONFIG_SPACES, find_config_space

SPEC = StudySpec(
    run_id="test", optimizer="darts", search_space="1", config_space="cs2", dataset="digits", data_dir=None,
    table="digits", table_epochs=12, n_iterations=7, seed=3, initial_configs=(CONFIG_SPACES["cs2"].default,),
)  # fmt: skip
#: Each sampler with what it needs; the list repeats an entry.
SPECS = {
    name: replace(SPEC, sampler=name, initial_configs=SPEC.initial_configs * (5 if name == "listed" else 1))
    for name in SAMPLERS
}


def evaluate(trial: TrialSpec) -> Evaluation:
    """A formula of the configuration and the budget; some configurations diverge, and some meet a bug."""
    rate = float(trial.config["learning_rate"])
    if trial.seed % 7 == 0:
        return Evaluation(status=Status.DIVERGED, error="as told")
    if trial.seed % 11 == 0:
        return Evaluation(status=Status.BUG, error="as told")
    return Evaluation(status=Status.OK, validation_error=min(1.0, abs(rate - 0.1) + 1 / trial.budget))


def result_of(trial: TrialSpec, evaluation: Evaluation | None = None) -> TrialResult:
    return TrialResult(
        config_id=trial.config_id, config=trial.config, model_based=False, budget=trial.budget, submitted=0.0,
        started=0.0, finished=0.0, evaluation=evaluation or evaluate(trial),
    )  # fmt: skip


@dataclass
class Journal:
    """What a driver of a tuner has written, and what it has heard, line by line."""

    configs: dict[ConfigId, Proposal] = field(default_factory=dict)
    results: list[TrialResult] = field(default_factory=list)
    asked: list[TrialSpec] = field(default_factory=list)
    #: After each event, how many configurations and results there were.
    states: list[tuple[int, int]] = field(default_factory=list)

    def drive(self, tuner: Tuner, n_workers: int = 1, order: Callable[[int], int] = lambda n: 0) -> Journal:
        """Runs the tuner to its end; ``order`` says which of so many running trials ends next."""
        running: list[TrialSpec] = []
        while True:
            while len(running) < n_workers and (trial := tuner.ask()) is not None:
                running.append(trial)
                self.asked.append(trial)
                self.configs.setdefault(trial.config_id, tuner.proposals[trial.config_id])
                self.states.append((len(self.configs), len(self.results)))
            if not running:
                assert tuner.is_done
                return self
            result = result_of(running.pop(order(len(running))))
            self.results.append(result)
            tuner.tell(result)
            self.states.append((len(self.configs), len(self.results)))

    def upto(self, n_configs: int, n_results: int) -> tuple[dict[ConfigId, Proposal], list[TrialResult]]:
        return dict(list(self.configs.items())[:n_configs]), self.results[:n_results]


def new_tuner(spec: StudySpec = SPEC) -> Tuner:
    return Tuner(spec, make_sampler(spec))


def journal(spec: StudySpec = SPEC, **arguments: Any) -> Journal:
    return Journal().drive(new_tuner(spec), **arguments)


JOURNALS = {name: journal(spec) for name, spec in SPECS.items()}


def test_the_papers_study_has_its_counts() -> None:
    spec = replace(SPEC, n_iterations=64)
    tuner = new_tuner(spec)
    assert tuner.schedule == {25: 88, 50: 86, 100: 106}
    assert (tuner.n_total, tuner.n_done, tuner.is_done) == (280, 0, False)
    told = Journal().drive(tuner)
    assert Counter(result.budget for result in told.results) == tuner.schedule
    assert (tuner.n_done, tuner.is_done, tuner.ask()) == (280, True, None)
    assert len({(r.config_id, r.budget) for r in told.results}) == 280
    assert 0.45 < np.mean([proposal.model_based for proposal in tuner.proposals.values()]) < 0.75


@pytest.mark.parametrize(("eta", "budgets"), [(2, (25, 100)), (3, (1, 27)), (5, (1, 2))])
def test_random_search_has_hyperbands_counts(eta: int, budgets: tuple[int, int]) -> None:
    """By hand after Li et al.'s table: brackets s = s_max..0 in turn, of eta^s (s_max + 1) / (s + 1) configurations."""
    spec = replace(SPECS["random"], min_budget=budgets[0], max_budget=budgets[1], eta=eta, n_iterations=6)
    rungs = ladder(*budgets, eta)
    s_max = len(rungs) - 1
    expected: Counter[int] = Counter()
    for iteration in range(6):
        s = s_max - iteration % (s_max + 1)
        n = (s_max + 1) // (s + 1) * eta**s
        expected.update({rungs[s_max - s + i]: n // eta**i for i in range(s + 1)})
    tuner = new_tuner(spec)
    told = Journal().drive(tuner)
    assert Counter(result.budget for result in told.results) == expected == tuner.schedule
    assert not any(proposal.model_based for proposal in tuner.proposals.values())


def test_a_list_is_evaluated_once_each_at_the_largest_budget() -> None:
    told = JOURNALS["listed"]
    assert new_tuner(SPECS["listed"]).schedule == {100: 5}
    assert [trial.config_id for trial in told.asked] == [(i, 0, 0) for i in range(5)]
    assert {trial.budget for trial in told.asked} == {100}
    assert len({trial.seed for trial in told.asked}) == 5


def test_rungs_promote_the_best() -> None:
    results = JOURNALS["bohb"].results
    for iteration in (0, 3):
        at = {b: {r.config_id: r.evaluation.loss for r in results if r.config_id[0] == iteration and r.budget == b}
              for b in (25, 50, 100)}  # fmt: skip
        assert [len(at[b]) for b in (25, 50, 100)] == [4, 2, 1]
        for small, large in ((25, 50), (50, 100)):
            assert max(at[small][i] for i in at[large]) <= min(v for i, v in at[small].items() if i not in at[large])


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_study_twice_is_the_same(name: str) -> None:
    again = journal(SPECS[name])
    assert again.asked == JOURNALS[name].asked
    assert again.configs == JOURNALS[name].configs
    if name != "listed":
        assert journal(replace(SPECS[name], seed=4)).configs != JOURNALS[name].configs


@pytest.mark.parametrize("name", SAMPLERS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_tuner_replayed_from_any_prefix_goes_on_as_the_uninterrupted_one(name: str, data: st.DataObject) -> None:
    """Also where the journal ends with a configuration whose result is missing."""
    whole = JOURNALS[name]
    n_configs, n_results = data.draw(st.sampled_from([(0, 0), *whole.states]))
    configs, results = whole.upto(n_configs, n_results)
    tuner = new_tuner(SPECS[name])
    tuner.replay(configs, results)
    assert (tuner.n_done, list(tuner.proposals)) == (n_results, list(configs))
    goes_on = Journal(dict(configs), list(results)).drive(tuner)
    assert goes_on.asked == whole.asked[n_results:]
    assert goes_on.results == whole.results
    assert goes_on.configs == whole.configs


@given(
    n_workers=st.integers(2, 9),
    order=st.lists(st.integers(0, 8), min_size=40, max_size=40),
    cut=st.integers(0, 200),
    name=st.sampled_from(["bohb", "random"]),
)
@settings(max_examples=40, deadline=None)
def test_with_several_workers_what_was_in_flight_comes_first(
    n_workers: int, order: list[int], cut: int, name: str
) -> None:
    picks = iter(order * 5)
    whole = journal(SPECS[name], n_workers=n_workers, order=lambda n: next(picks) % n)
    n_configs, n_results = whole.states[cut % len(whole.states)]
    configs, results = whole.upto(n_configs, n_results)
    tuner = new_tuner(SPECS[name])
    tuner.replay(configs, results)
    told = {(result.config_id, result.budget) for result in results}
    in_flight = [config_id for config_id in configs if config_id not in {i for i, _ in told}]
    goes_on = Journal(dict(configs), list(results)).drive(tuner)
    asked = [trial.config_id for trial in goes_on.asked]
    new = [config_id for config_id in asked if config_id not in configs]
    assert all(asked.index(config_id) < asked.index(other) for config_id in in_flight for other in new)
    assert {config_id: goes_on.configs[config_id] for config_id in configs} == configs
    assert Counter(r.budget for r in goes_on.results) == tuner.schedule
    assert len({(r.config_id, r.budget) for r in goes_on.results}) == tuner.n_total


def test_a_line_that_stands_twice_counts_once() -> None:
    configs, results = JOURNALS["bohb"].upto(6, 8)
    tuner = new_tuner()
    tuner.replay(configs, [*results, results[-1]])
    assert tuner.n_done == 8
    assert tuner.ask() == JOURNALS["bohb"].asked[8]


def test_a_result_that_comes_after_the_replay_is_not_asked_for_again() -> None:
    """A worker that outlived the master reports a trial that was in flight when the journal ended."""
    first = new_tuner()
    trials = [trial for _ in range(3) if (trial := first.ask()) is not None]
    tuner = new_tuner()
    results = {trial.config_id: result_of(trial) for trial in trials}
    tuner.replay(dict(first.proposals), [results[trials[2].config_id]])
    tuner.tell(results[trials[0].config_id])
    assert tuner.ask() == trials[1]
    assert tuner.ask() not in trials


def test_another_studys_journal_is_refused() -> None:
    whole = JOURNALS["bohb"]
    tuner = new_tuner()
    tuner.ask()
    with pytest.raises(ValueError, match="make a new one"):
        tuner.replay(whole.configs, [])
    for results in ([replace(whole.results[0], budget=77)], [replace(whole.results[0], config_id=(40, 0, 0))]):
        with pytest.raises(ValueError, match="which this study does not run"):
            new_tuner().replay(whole.configs, results)
    first, *others = whole.configs
    for configs, message in (
        ({first: whole.configs[others[0]]}, "as configuration 0, expected"),
        ({**whole.configs, (999, 0, 0): whole.configs[first]}, r"got a configuration \(999, 0, 0\)"),
        ({**whole.configs, (0, 1, 0): whole.configs[first]}, r"got a configuration \(0, 1, 0\)"),
        ({**whole.configs, (0, 0, 4): whole.configs[first]}, r"got a configuration \(0, 0, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            new_tuner().replay(configs, [])
    with pytest.raises(ValueError, match=r"configuration \(1, 0, 0\) has a result at 50 epochs"):
        new_tuner().replay({}, [r for r in whole.results if r.config_id == (1, 0, 0)])


def test_only_results_of_running_trials_with_finite_losses_are_taken() -> None:
    tuner = new_tuner()
    trial = tuner.ask()
    assert trial is not None
    with pytest.raises(ValueError, match=r"got one of configuration \(0, 0, 1\) at 25 epochs"):
        tuner.tell(replace(result_of(trial), config_id=(0, 0, 1)))
    with pytest.raises(ValueError, match="got nan, expected a finite one"):
        tuner.tell(result_of(trial, Evaluation(status=Status.OK, validation_error=float("nan"))))
    tuner.tell(result_of(trial))
    with pytest.raises(ValueError, match="expected one of a trial that runs"):
        tuner.tell(result_of(trial))


def test_nothing_can_run_before_the_rung_is_complete() -> None:
    spec = replace(SPEC, n_iterations=1)
    tuner = new_tuner(spec)
    trials = [tuner.ask() for _ in range(4)]
    assert tuner.ask() is None
    assert not tuner.is_done
    for trial in trials:
        assert trial is not None
        tuner.tell(result_of(trial))
    promoted = tuner.ask()
    assert promoted is not None
    assert promoted.budget == 50


class Learned(Sampler):
    """A sampler that notes what it is to learn."""

    def __init__(self) -> None:
        super().__init__(CONFIG_SPACES["cs1"].build(0))
        self.observed: list[tuple[Mapping[str, Value], int, float]] = []

    def propose(self, budget: int, rng: np.random.Generator) -> Proposal:
        return Proposal(config={"cutout_prob": float(rng.random())}, model_based=True)

    def observe(self, config: Mapping[str, Value], budget: int, loss: float) -> None:
        self.observed.append((config, budget, loss))


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
def test_the_sampler_learns_what_says_something_about_the_configuration(
    evaluation: Evaluation, loss: float | None
) -> None:
    sampler = Learned()
    tuner = Tuner(replace(SPEC, initial_configs=()), sampler)
    trial = tuner.ask()
    assert trial is not None
    tuner.tell(result_of(trial, evaluation))
    assert sampler.observed == ([] if loss is None else [(trial.config, 25, loss)])
    assert tuner.proposals[trial.config_id].model_based


def test_initial_configurations_come_first_whatever_the_sampler() -> None:
    given = tuple({"cutout_prob": value} for value in (0.1, 0.2, 0.3, 0.4, 0.5))
    tuner = Tuner(replace(SPEC, initial_configs=given), Learned())
    for _ in range(6):
        tuner.ask()
    proposals = list(tuner.proposals.values())
    assert [proposal.config for proposal in proposals[:5]] == list(given)
    assert [proposal.model_based for proposal in proposals] == [False] * 5 + [True]


def test_a_trial_carries_its_study_but_not_what_else_is_tried() -> None:
    trial = new_tuner().ask()
    assert trial is not None
    assert trial.study == replace(SPEC, initial_configs=())
    assert trial.seed == trial_seed(3, (0, 0, 0), 25)


def test_trial_seeds_are_distinct_and_reproducible() -> None:
    keys = [(s, (i, 0, k), b) for s in (0, 1) for i in range(64) for k in range(4) for b in (25, 50, 100)]
    seeds = {trial_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert trial_seed(0, (0, 0, 0), 25) == int(np.random.SeedSequence([0, 0, 0, 0, 25]).generate_state(1)[0])


def test_it_needs_no_socket_thread_clock_or_file(monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = new_tuner()

    def fail(*arguments: object, **keywords: object) -> None:
        raise AssertionError("a tuner is pure")

    for owner, name in [(socket, "socket"), (threading, "Thread"), (time, "time"), (time, "monotonic"), (Path, "open")]:
        monkeypatch.setattr(owner, name, fail)
    monkeypatch.setattr("builtins.open", fail)
    assert Journal().drive(tuner).results == JOURNALS["bohb"].results


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "listed"])
@pytest.mark.parametrize("space", CONFIG_SPACES)
def test_proposals_are_whole_configurations_in_built_in_types(name: str, space: str) -> None:
    tuner = new_tuner(replace(SPECS[name], config_space=space, initial_configs=()))
    for _ in range(30):
        trial = tuner.ask()
        assert trial is not None
        whole = find_config_space(space).complete(trial.config)
        assert {key: (type(value), value) for key, value in trial.config.items()} == {
            key: (type(value), value) for key, value in whole.items()
        }
        tuner.tell(result_of(trial, Evaluation(status=Status.OK, validation_error=trial.seed / 2**32)))
