"""What runs and what is known: no repeats by brute force in small spaces, lies by hand, and BOHB as it was without."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest
from ConfigSpace import Categorical, Configuration, ConfigurationSpace, EqualsCondition, Integer
from hypothesis import given, settings
from hypothesis import strategies as st

from master.density import Density
from master.samplers.kde import KdeSampler, KdeSettings
from master.samplers.pending import PendingKdeSampler
from master.tuner import Tuner
from results.records import Evaluation, Status, StudySpec, TrialResult, TrialSpec, Value
from spaces import CONFIG_SPACES

SPEC = StudySpec(
    run_id="test", optimizer="darts", search_space="1", config_space="cs2", dataset="digits", data_dir=None,
    table="digits", table_epochs=12, n_iterations=6, seed=3,
)  # fmt: skip


def space_of_six() -> ConfigurationSpace:
    space = ConfigurationSpace(seed=0)
    space.add(Categorical("kind", ["a", "b", "c"]), Integer("size", (1, 2)))
    return space


SIX = [{"kind": kind, "size": size} for kind, size in product("abc", (1, 2))]


def loss_of(config: Mapping[str, Value]) -> float:
    return 0.1 * "bca".index(str(config["kind"])) + 0.05 * float(config["size"])


def result_of(trial: TrialSpec, status: Status = Status.OK) -> TrialResult:
    evaluation = Evaluation(status=status, validation_error=loss_of(trial.config) if status is Status.OK else None)
    return TrialResult(
        config_id=trial.config_id, config=trial.config, model_based=False, budget=trial.budget, submitted=0.0,
        started=0.0, finished=0.0, evaluation=evaluation,
    )  # fmt: skip


def drive(tuner: Tuner, n_workers: int, picks: list[int]) -> list[tuple[TrialSpec, bool, list[TrialSpec]]]:
    """Runs a study; returns each trial, whether its configuration is a new proposal, and the trials before it."""
    running: list[TrialSpec] = []
    asked: list[tuple[TrialSpec, bool, list[TrialSpec]]] = []
    for pick in picks * 100:
        while len(running) < n_workers and (trial := tuner.ask()) is not None:
            before = [earlier for earlier, _, _ in asked]
            asked.append((trial, all(t.config_id != trial.config_id for t in before), before))
            running.append(trial)
        if not running:
            break
        tuner.tell(result_of(running.pop(pick % len(running))))
    assert tuner.is_done
    return asked


def n_repeats(proposals: list[Mapping[str, Value]]) -> int:
    return len(proposals) - len({tuple(sorted(p.items())) for p in proposals})


@settings(max_examples=8, deadline=None)
@given(n_workers=st.integers(1, 9), picks=st.lists(st.integers(0, 8), min_size=5, max_size=5), seed=st.integers(0, 99))
def test_nothing_is_repeated_while_the_space_has_something_else(n_workers: int, picks: list[int], seed: int) -> None:
    tuner = Tuner(StudySpec(**{**SPEC.to_dict(), "seed": seed}), PendingKdeSampler(space_of_six()))
    for trial, is_new, before in drive(tuner, n_workers, picks):
        if not is_new:
            continue
        known = [t.config for t in before]
        untried = [config for config in SIX if config not in known]
        assert trial.config in (untried or SIX)
        smaller = [c for c in SIX if all(t.config != c or t.budget < trial.budget for t in before)]
        assert trial.config in (untried or smaller or SIX)
    proposals = [proposal.config for proposal in tuner.proposals.values()]
    assert n_repeats(proposals[:6]) == 0
    assert all(config in proposals for config in SIX)


def test_bohb_repeats_itself_in_the_same_space() -> None:
    tuner = Tuner(SPEC, KdeSampler(space_of_six()))
    drive(tuner, 4, [0])
    assert n_repeats([proposal.config for proposal in tuner.proposals.values()][:6]) > 0


def test_the_model_ranks_what_is_left_of_a_small_space() -> None:
    """All but two are known: every model-based proposal is the better one of them by the ratio of the densities."""
    space = ConfigurationSpace(seed=0)
    space.add(Integer("x", (1, 12)), Categorical("c", ["a", "b"]))
    sampler = PendingKdeSampler(space, KdeSettings(random_fraction=0.0))
    left = [{"x": 3, "c": "a"}, {"x": 11, "c": "b"}]
    for x, c in product(range(1, 13), "ab"):
        if {"x": x, "c": c} not in left:
            sampler.observe({"x": x, "c": c}, 25, abs(x - 3) / 12 + 0.2 * (c == "b"))
    proposals = [sampler.propose(25, np.random.default_rng(n)) for n in range(20)]
    assert [(p.config, p.model_based) for p in proposals] == [(left[0], True)] * 20


def test_a_configuration_of_which_a_bug_says_nothing_may_come_again() -> None:
    space = ConfigurationSpace(seed=0)
    space.add(Categorical("kind", ["a", "b"]))
    tuner = Tuner(SPEC, PendingKdeSampler(space))
    first, second = tuner.ask(), tuner.ask()
    assert first is not None
    assert second is not None
    assert {first.config["kind"], second.config["kind"]} == {"a", "b"}
    tuner.tell(
        TrialResult(
            config_id=first.config_id, config=first.config, model_based=False, budget=25, submitted=0.0, started=0.0,
            finished=0.0, evaluation=Evaluation(status=Status.BUG, error="x"),
        )
    )  # fmt: skip
    third = tuner.ask()
    assert third is not None
    assert third.config == first.config


def test_conditions_do_not_hide_what_is_left() -> None:
    """A plain kind has no width: the space has four configurations, of which three are known."""
    space = ConfigurationSpace(seed=0)
    space.add(Categorical("kind", ["plain", "fancy"]), Integer("width", (1, 3)))
    space.add(EqualsCondition(space["width"], space["kind"], "fancy"))
    sampler = PendingKdeSampler(space)
    for config in ({"kind": "plain"}, {"kind": "fancy", "width": 1}, {"kind": "fancy", "width": 3}):
        sampler.observe(config, 25, 0.5)
    assert {tuple(sampler.propose(25, np.random.default_rng(n)).config.items()) for n in range(20)} == {
        (("kind", "fancy"), ("width", 2))
    }


def observed(kind: type[KdeSampler], settings: KdeSettings | None = None) -> KdeSampler:
    """A sampler after 20 observations of CS2, by formula."""
    sampler = kind(CONFIG_SPACES["cs2"].build(0), settings)
    for i in range(20):
        sampler.observe(
            {
                "weight_decay": 10 ** (-5 + 2 * (i * 7 % 20) / 20),
                "cutout_prob": (i * 3 % 20) / 20,
                "learning_rate": 10 ** (-3 + 3 * (i * 11 % 20) / 20),
            },
            25,
            (i * 13 % 20) / 20,
        )
    return sampler


def running(*configs: Mapping[str, Value], budget: int = 25) -> list[TrialSpec]:
    return [
        TrialSpec(study=SPEC, config_id=(9, 0, i), budget=budget, config=config, seed=i)
        for i, config in enumerate(configs)
    ]


PLACES = [
    {"weight_decay": 9e-4, "cutout_prob": 0.85, "learning_rate": 0.006},
    {"weight_decay": 2e-4, "cutout_prob": 0.2, "learning_rate": 0.03},
]


def test_bohb_itself_proposes_what_it_proposed_before_pending_existed() -> None:
    """Recorded at 586eef3; what runs changes nothing."""
    sampler = observed(KdeSampler)
    sampler.running = running(*PLACES)
    proposals = [sampler.propose(25, np.random.default_rng([1, n])) for n in range(4)]
    assert [(p.model_based, p.config) for p in proposals] == [
        (True, {"cutout_prob": 0.8555562997512, "learning_rate": 0.0065788912924, "weight_decay": 0.0009513194392}),
        (False, {"cutout_prob": 0.7744901337627, "learning_rate": 0.0014853291455, "weight_decay": 0.0002291493281}),
        (True, {"cutout_prob": 0.6612336613681, "learning_rate": 0.0027526813609, "weight_decay": 0.0009631071866}),
        (False, {"cutout_prob": 0.2521146806692, "learning_rate": 0.0348180874964, "weight_decay": 0.0001381402859}),
    ]


def test_with_nothing_running_it_is_bohb_where_nothing_repeats() -> None:
    bohb, pending = observed(KdeSampler), observed(PendingKdeSampler)
    for n in range(30):
        proposals = [sampler.propose(25, np.random.default_rng([1, n])) for sampler in (bohb, pending)]
        assert proposals[0] == proposals[1]


def test_what_runs_counts_as_bad() -> None:
    """By hand: the running configurations are two further rows of the bad density, and nothing else changes."""
    only_model = KdeSettings(random_fraction=0.0)
    sampler = observed(PendingKdeSampler, only_model)
    sampler.running = running(*PLACES)
    space = CONFIG_SPACES["cs2"].build(0)
    model = observed(KdeSampler, only_model).model(np.random.default_rng(0))
    assert model is not None
    rows = np.array([Configuration(space, values=place).get_array() for place in PLACES])
    bad = Density.fit(np.vstack([model.bad.data, rows]), np.zeros(3, dtype=np.int64), min_bandwidth=1e-3)
    for n in range(10):
        rng = np.random.default_rng(n)
        rng.random()
        samples = model.good.sample(64, 3.0, rng)
        best = samples[np.argmin(bad.pdf(samples) / model.good.pdf(samples))]
        expected = dict(Configuration(space, vector=best))
        assert sampler.propose(25, np.random.default_rng(n)).config == pytest.approx(expected)


def test_their_order_means_nothing_and_a_promoted_configuration_is_no_lie() -> None:
    bohb, forwards, backwards, promoted = (
        observed(kind) for kind in (KdeSampler, PendingKdeSampler, PendingKdeSampler, PendingKdeSampler)
    )
    forwards.running, backwards.running = running(*PLACES), running(*PLACES)[::-1]
    known = {"weight_decay": 1e-5, "cutout_prob": 0.0, "learning_rate": 1e-3}  # the first observation
    promoted.running = running(known, budget=50)
    for n in range(20):
        plain, one, other, of_promoted = (
            sampler.propose(25, np.random.default_rng(n)) for sampler in (bohb, forwards, backwards, promoted)
        )
        assert one == other
        assert of_promoted == plain
