"""REINFORCE's update against three steps worked by hand, and its draws against its probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from nas.blackbox.baseline import Task
from nas.blackbox.reinforce import Reinforce
from spaces import SEARCH_SPACES, SearchSpace

#: One block: a single parent set, two candidates for the output, three operations.
TINY = SearchSpace("tiny", n_parents=(1, 1))


def test_three_steps_by_hand() -> None:
    """Rewards 0.5, 0.7, 0.6; decay 0.9. Baselines, bias-corrected and with the newest reward in them:

    1: 0.5;  2: (0.9 * 0.1 * 0.5 + 0.1 * 0.7) / 0.19 = 0.115 / 0.19;  3: (0.9 * 0.115 + 0.1 * 0.6) / 0.271.
    """
    agent = Reinforce(Task(TINY, epochs=(108,), most_epochs=10**6), [np.random.default_rng(5)])
    logits = [np.zeros(1), np.zeros(2), np.zeros(3)]
    for reward, baseline in ((0.5, 0.5), (0.7, 0.115 / 0.19), (0.6, 0.1635 / 0.271)):
        choices = TINY.decode_choices(agent.ask().indices[0])
        agent.tell(np.array([1 - reward]))
        for of_choice, drawn in zip(logits, choices, strict=True):
            softmax = np.exp(of_choice) / np.exp(of_choice).sum()
            for value in range(len(of_choice)):
                of_choice[value] += 0.1 * (reward - baseline) * ((value == drawn) - softmax[value])
        for i, of_choice in enumerate(logits):
            assert agent.logits[0, i, : len(of_choice)] == pytest.approx(of_choice, abs=1e-15)
    assert np.abs(logits[2]).max() > 1e-3
    assert logits[0] == pytest.approx(0)


def test_draws_follow_the_probabilities_and_stay_in_the_space() -> None:
    space = SEARCH_SPACES["3"]
    agent = Reinforce(Task(space, epochs=(108,), most_epochs=10**6), [np.random.default_rng(i) for i in range(4000)])
    agent.logits[:, -1, :3] = np.log([0.2, 0.5, 0.3])
    choices = space.decode_choices(agent.ask().indices)
    assert np.bincount(choices[:, -1]) / 4000 == pytest.approx([0.2, 0.5, 0.3], abs=0.03)
    for i, n_values in enumerate(space.radices[:-1]):
        assert np.bincount(choices[:, i], minlength=n_values) / 4000 == pytest.approx(1 / n_values, abs=0.03)


def test_it_learns_a_single_choice() -> None:
    agent = Reinforce(Task(TINY, epochs=(108,), most_epochs=10**6), [np.random.default_rng(i) for i in range(20)])
    for _ in range(2000):
        operation = TINY.decode_choices(agent.ask().indices)[:, 2]
        agent.tell(np.where(operation == 1, 0.0, 1.0))
    assert agent.probabilities()[:, 2, 1].mean() > 0.95
