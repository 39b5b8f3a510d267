"""Hyperband over the table's own training epochs: many cells trained a little, the best of them trained on.

The brackets, and the tuner that fills them, are those of the studies (``master.brackets``, ``master.tuner``): eta 3
over 4, 12, 36 and 108 epochs on NAS-Bench-101, over 1, 4 and 12 on the digits. One worker runs one training after the
other, each from scratch. A table with a single number of epochs leaves brackets of one rung: random search.

Sources: Li et al. (2018), *Hyperband*, Algorithm 1; automl/nasbench-1shot1 (``discrete/hyperband.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from master.brackets import Bracket, hyperband
from master.samplers import Sampler
from master.samplers.random import RandomSampler
from master.tuner import Tuner
from nas.blackbox.baseline import SingleBaseline
from nas.blackbox.encoding import Encoding
from results.records import Evaluation, Proposal, Status, StudySpec, TrialResult, TrialSpec, Value

ETA = 3


class OnRungs(Sampler):
    """Another sampler, over brackets of given budgets."""

    def __init__(self, sampler: Sampler, rungs: tuple[int, ...]) -> None:
        """A sampler that proposes what ``sampler`` proposes, on ``rungs``, ascending."""
        super().__init__(sampler.space)
        self._sampler = sampler
        self._rungs = rungs

    def propose(self, budget: int, rng: np.random.Generator) -> Proposal:
        """Proposes what the other sampler proposes."""
        return self._sampler.propose(budget, rng)

    def observe(self, config: Mapping[str, Value], budget: float, loss: float) -> None:
        """Teaches the other sampler."""
        self._sampler.observe(config, budget, loss)

    def brackets(self, spec: StudySpec) -> tuple[Bracket, ...]:
        """Hyperband's brackets over the given rungs."""
        return hyperband(spec.n_iterations, self._rungs, spec.eta)


class Hyperband(SingleBaseline):
    """See the module."""

    def begin(self, rng: np.random.Generator) -> None:
        """Makes a tuner with as many brackets as the limit can take."""
        self._encoding = Encoding(self.task.space)
        rungs = self.task.epochs
        turns = hyperband(len(rungs), rungs, ETA)
        least = min(sum(n * epochs for n, epochs in zip(b.sizes, b.budgets, strict=True)) for b in turns)
        spec = StudySpec(
            run_id="baseline",
            optimizer=type(self).__name__,
            search_space=self.task.space.name,
            config_space="",
            dataset="",
            data_dir=None,
            table="",
            table_epochs=rungs[-1],
            min_budget=rungs[0],
            max_budget=rungs[-1],
            eta=ETA,
            n_iterations=self.task.most_epochs // least + 2,
            seed=int(rng.integers(2**63)),
        )
        self._tuner = Tuner(spec, OnRungs(self.sampler(int(rng.integers(2**31))), rungs))

    def sampler(self, seed: int) -> Sampler:
        """What proposes architectures; ``seed`` is that of the configuration space."""
        return RandomSampler(self._encoding.config_space(seed))

    def ask_one(self) -> tuple[int, int]:
        """The tuner's next trial."""
        trial = self._tuner.ask()
        assert trial is not None, "there are more brackets than the limit can take, and nothing else runs"
        self._trial: TrialSpec = trial
        return self._encoding.index(trial.config), trial.budget

    def tell_one(self, validation_error: float) -> None:
        """Tells the tuner."""
        trial = self._trial
        result = TrialResult(
            config_id=trial.config_id,
            config=trial.config,
            model_based=False,
            budget=trial.budget,
            submitted=0.0,
            started=0.0,
            finished=0.0,
            evaluation=Evaluation(status=Status.OK, validation_error=validation_error),
        )
        self._tuner.tell(result)
