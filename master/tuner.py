"""The tuner decides what runs next, and learns: Hyperband's brackets, hpbandster's successive halving, and a sampler.

A tuner opens no socket, starts no thread, reads no clock and touches no file.  Therefore a master over a network, a
simulation in virtual time and a loop of ten lines can drive it.  ``ask`` and ``tell`` alternate as the driver likes.
``replay`` brings a new tuner to the state of another tuner's journal.

Randomness: the seed of a trial is derived from (study seed, configuration, budget).  The generator of a proposal is
derived from (study seed, number of the proposal).  Neither depends on what the process did before, so a replayed
tuner with one worker goes on exactly as the uninterrupted one.

hpbandster's ``SuccessiveHalving`` (0.7.4) is used as it is: it numbers configurations, and promotes them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
from hpbandster.core.dispatcher import Job
from hpbandster.optimizers.iterations import SuccessiveHalving

from master.brackets import evaluations_per_budget
from master.samplers import Sampler
from results.records import ConfigId, Proposal, StudySpec, TrialResult, TrialSpec, Value


def trial_seed(study_seed: int, config_id: ConfigId, budget: int) -> int:
    """Derives the seed of a trial, in 0..2^32-1; nearby trials get unrelated seeds, the same trial always the same."""
    return int(np.random.SeedSequence([study_seed, *config_id, budget]).generate_state(1)[0])


def proposal_generator(study_seed: int, number: int) -> np.random.Generator:
    """Makes the generator of a proposal; ``number`` is 0 for the first of the study."""
    return np.random.default_rng([study_seed, number])


class Tuner:
    """The state of a study: proposals, running trials, and results.

    Attributes:
        spec: The study.
        schedule: Budget, ascending, to the number of the study's evaluations at it.
        proposals: Every configuration so far, in the order of the proposals.
    """

    def __init__(self, spec: StudySpec, sampler: Sampler, earlier: Iterable[TrialResult] = ()) -> None:
        """Makes a tuner without results of its own.

        Args:
            spec: The study; its ``initial_configs`` come before all proposals of the sampler.
            sampler: Sampler that proposes configurations and decides on the brackets.
            earlier: Results of other studies of the same configuration space and objective, which teach the sampler
                now and count nowhere else.

        Raises:
            ValueError: The study's budgets make no ladder, or the study lacks something that its sampler needs.
        """
        self.spec = spec
        self._sampler = sampler
        self._brackets = sampler.brackets(spec)
        self.schedule = evaluations_per_budget(self._brackets)
        self.proposals: dict[ConfigId, Proposal] = {}
        # A worker does not need to know what else is tried, which can be long.
        self._study_of_a_trial = msgspec.structs.replace(spec, initial_configs=(), warm_start=())
        self._n_started = 0
        self._active: dict[int, SuccessiveHalving] = {}  # by number, without those that are finished
        self._may_run: set[int] = set()  # of these, the ones that do not wait for a result
        self._in_flight: dict[tuple[ConfigId, float], TrialSpec] = {}
        sampler.running = self._in_flight.values()  # a view
        self._to_repeat: deque[TrialSpec] = deque()  # in flight when the journal ended
        self._told: set[tuple[ConfigId, float]] = set()
        for result in earlier:
            self._learn(result.config, result)

    @property
    def n_total(self) -> int:
        """Number of evaluations of the whole study."""
        return sum(self.schedule.values())

    @property
    def n_done(self) -> int:
        """Number of evaluations whose result is known."""
        return len(self._told)

    @property
    def is_done(self) -> bool:
        """Whether all results are known."""
        return self.n_done == self.n_total

    @property
    def n_to_repeat(self) -> int:
        """Number of trials that were in flight when the replayed journal ended; ``ask`` returns them first."""
        return len(self._to_repeat)

    def ask(self) -> TrialSpec | None:
        """Returns the next trial to run; None if nothing can run before another result, or ever."""
        return self._to_repeat.popleft() if self._to_repeat else self._next_trial()

    def tell(self, result: TrialResult) -> None:
        """Takes the result of a trial that was asked for.

        Raises:
            ValueError: The trial does not run, or the loss is not finite.
        """
        self._record(result)
        self._promote(result)
        self._learn(self.proposals[result.config_id].config, result)

    def replay(self, configs: Mapping[ConfigId, Proposal], results: Iterable[TrialResult]) -> None:
        """Brings a new tuner to the state of a journal.

        ``ask`` then returns the trials without a result again, before all others.

        Args:
            configs: Every configuration, in the order of the proposals.
            results: Results in the order of their arrival; the first of several results of a trial counts.

        Raises:
            ValueError: The tuner has begun already, or the journal belongs to another study: it holds another id,
                other initial configurations, or a result at another budget.
        """
        if self.proposals:
            raise ValueError("replay: this tuner has begun already; make a new one")
        self._check_journal(configs)
        self.proposals.update(configs)
        for result in results:
            key = (result.config_id, result.budget)
            if key in self._told:
                continue
            while key not in self._in_flight:
                if self._next_trial() is None or len(self.proposals) > len(configs):
                    raise ValueError(
                        f"journal: configuration {result.config_id} has a result at {result.budget} epochs, which this "
                        "study does not run, or not yet; give the journal of this study, whole and in its order"
                    )
            self.tell(result)
        self._to_repeat.extend(self._in_flight.values())

    def _check_journal(self, configs: Mapping[ConfigId, Proposal]) -> None:
        for (number, proposal), given in zip(enumerate(configs.values()), self.spec.initial_configs, strict=False):
            if proposal.config != given:
                raise ValueError(
                    f"journal: got {dict(proposal.config)} as configuration {number}, expected {dict(given)}, with "
                    "which this study starts; give the journal of this study"
                )
        for iteration, stage, index in configs:
            is_known = 0 <= iteration < len(self._brackets) and 0 <= index < self._brackets[iteration].sizes[0]
            if stage or not is_known:
                raise ValueError(
                    f"journal: got a configuration {(iteration, stage, index)}, which this study does not run; give "
                    "the journal of this study"
                )

    def _record(self, result: TrialResult) -> None:
        key = (result.config_id, result.budget)
        name = f"configuration {key[0]} at {key[1]} epochs"
        if not math.isfinite(result.evaluation.loss):
            raise ValueError(f"loss of {name}: got {result.evaluation.loss}, expected a finite one")
        trial = self._in_flight.pop(key, None)
        if trial is None:
            raise ValueError(f"result: got one of {name}, expected one of a trial that runs")
        if trial in self._to_repeat:  # a worker that outlived the master has reported it
            self._to_repeat.remove(trial)
        self._told.add(key)

    def _promote(self, result: TrialResult) -> None:
        """Hands a result to its iteration, which promotes the best of a rung when all its results are there."""
        job = Job(result.config_id, config=self.proposals[result.config_id].config, budget=result.budget)
        job.result = {"loss": result.evaluation.loss}
        number = result.config_id[0]
        self._active[number].register_result(job)
        self._may_run.add(number)

    def _learn(self, config: Mapping[str, Value], result: TrialResult) -> None:
        """Teaches the sampler, unless the result says nothing about the configuration."""
        if result.evaluation.status.informs_model:
            self._sampler.observe(config, result.budget, result.evaluation.loss)

    def _next_trial(self) -> TrialSpec | None:
        """Takes the next trial of the iterations that have begun, or of a new iteration if all of them wait."""
        for number in sorted(self._may_run):
            run = self._active[number].get_next_run()
            if run is not None:
                return self._in_flight_now(*run)
            self._may_run.remove(number)
            if self._active[number].is_finished:
                del self._active[number]
        if self._n_started == len(self._brackets):
            return None
        return self._in_flight_now(*self._start_iteration().get_next_run())

    def _start_iteration(self) -> SuccessiveHalving:
        number, shape = self._n_started, self._brackets[self._n_started]
        self._n_started += 1
        self._may_run.add(number)
        self._active[number] = SuccessiveHalving(
            HPB_iter=number,
            num_configs=list(shape.sizes),
            budgets=list(shape.budgets),
            config_sampler=lambda budget: self._configuration_for(number, budget),
        )
        return self._active[number]

    def _configuration_for(self, number: int, budget: int) -> tuple[Mapping[str, Value], dict[str, Any]]:
        """Gives hpbandster the next configuration of an iteration, from the journal if the journal has it."""
        iteration = self._active[number]
        config_id = (number, iteration.stage, iteration.actual_num_configs[iteration.stage])
        if config_id not in self.proposals:
            self.proposals[config_id] = self._propose(budget)
        return self.proposals[config_id].config, {}

    def _propose(self, budget: int) -> Proposal:
        number = len(self.proposals)
        if number < len(self.spec.initial_configs):
            return Proposal(config=self.spec.initial_configs[number], model_based=False)
        return self._sampler.propose(budget, proposal_generator(self.spec.seed, number))

    def _in_flight_now(self, config_id: ConfigId, config: Mapping[str, Value], budget: int) -> TrialSpec:
        seed = trial_seed(self.spec.seed, config_id, budget)
        trial = TrialSpec(study=self._study_of_a_trial, config_id=config_id, budget=budget, config=config, seed=seed)
        self._in_flight[config_id, budget] = trial
        return trial
