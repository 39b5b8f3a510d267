"""The records of a study, without any reading or writing of files.

Units: errors are fractions in [0, 1], times are seconds, budgets are search epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from results.record_base import Record

#: (iteration, stage, index within the stage), as hpbandster numbers configurations.
ConfigId = tuple[int, int, int]
#: A value of a hyperparameter, always a built-in type.
Value = float | int | str | bool


class Status(str, Enum):
    """The way in which an evaluation ended.

    ``ok``, ``diverged``, ``out_of_memory`` and ``bad_config`` say something about the configuration and
    may inform the model. A trial that ended as ``worker_lost`` is run again elsewhere. ``bug`` is a fault of
    the program.
    """

    OK = "ok"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_CONFIG = "bad_config"
    WORKER_LOST = "worker_lost"
    BUG = "bug"

    @property
    def informs_model(self) -> bool:
        """Whether the model may learn from an evaluation with this status."""
        return self in (Status.OK, Status.DIVERGED, Status.OUT_OF_MEMORY, Status.BAD_CONFIG)


#: Settings that say where a search ran (``nas.oneshot.spec.PLACEMENT_FIELDS``), or with which random numbers.
NO_DIFFERENCE = frozenset({"data_dir", "download", "device", "threads", "kernels", "graph", "seed"})
#: The loss that the model learns for a configuration that failed: the worst possible error.
FAILURE_LOSS = 1.0


class StudySpec(Record, frozen=True, kw_only=True):
    """Definition of a study, written to ``run.json`` before the first evaluation.

    Attributes:
        run_id: Name of the study in the name server and in logs.
        optimizer: One-shot optimizer, a key of ``nas.oneshot.METHODS``.
        search_space: Search space, a key of ``spaces.SEARCH_SPACES``.
        config_space: Configuration space, a key of ``spaces.CONFIG_SPACES``.
        dataset: Data set of the searches: a key of ``nas.datasets.DATASETS``, or the absolute path of an
            ``.npz`` file.
        data_dir: Folder of the data set, or None if it needs none.
        table: Table of the objective: a key of ``nas.tabular.TABLES``, or the path of a store.
        table_epochs: Budget of the table whose validation error is the objective (108 in the paper).
        table_sha256: Fingerprint of the table's contents; None if it is unknown.
        min_budget: Smallest number of search epochs.
        max_budget: Largest number of search epochs.
        eta: Factor between successive budgets; one in ``eta`` configurations is kept at each.
        n_iterations: Number of iterations of successive halving.
        n_workers: Number of workers for which the study is planned; the first one that comes starts it.
        seed: Seed of the study, from which every trial's seed is derived.
        search_settings: Further settings of the searches, fields of ``nas.oneshot.SearchSpec``, that are the
            same for all trials (number of cells, initial channels, threads, ...).
        sampler: Way to propose configurations, a key of ``master.samplers.SAMPLERS``.
        default_config: Configuration that the others are compared with: the optimizer's own defaults, where they lie
            in the configuration space.
        initial_configs: Whole configurations that are evaluated first, in this order, whatever the sampler.
        keep_every: Number of epochs between checkpoints that stay when a trial has ended, the last one among them; 0
            keeps no weights.
        warm_start: Paths of the earlier runs whose results the sampler learned first; the results themselves are in
            the run's ``warm_start.jsonl``.
    """

    run_id: str
    optimizer: str
    search_space: str
    config_space: str
    dataset: str
    data_dir: str | None
    table: str
    table_epochs: int
    table_sha256: str | None = None
    min_budget: int = 25
    max_budget: int = 100
    eta: int = 2
    n_iterations: int = 64
    n_workers: int = 16
    seed: int = 0
    search_settings: Mapping[str, Value] = msgspec.field(default_factory=dict)
    sampler: str = "bohb"
    default_config: Mapping[str, Value] = msgspec.field(default_factory=dict)
    initial_configs: tuple[Mapping[str, Value], ...] = ()
    keep_every: int = 0
    warm_start: tuple[str, ...] = ()


class Proposal(Record, frozen=True, kw_only=True):
    """A configuration that the tuner proposed.

    Attributes:
        config: Hyperparameter to value.
        model_based: True if the model proposed it, False if it was drawn at random or given.
    """

    config: Mapping[str, Value]
    model_based: bool


class TrialSpec(Record, frozen=True, kw_only=True):
    """One configuration at one budget, with all that a worker needs to run it.

    Attributes:
        study: Study to which the trial belongs.
        config_id: (iteration, stage, index).
        budget: Search epochs.
        config: Hyperparameter to value, as drawn from the configuration space.
        seed: Seed of the trial, derived from (study seed, config_id, budget).
    """

    study: StudySpec
    config_id: ConfigId
    budget: int
    config: Mapping[str, Value]
    seed: int


class Evaluation(Record, frozen=True, kw_only=True):
    """The outcome of a trial.

    Attributes:
        status: Way in which the trial ended. Unless it is ``ok``, the found cell, its errors and its training
            time are None.
        validation_error: Validation error in the table, mean over the repeats: the objective.
        test_error: Test error in the table, mean over the repeats; it is reported, never optimised.
        t_search_s: Wall-clock seconds of the search.
        t_train_s: Training time of the cell in the table, in seconds.
        architecture_index: Index of the found architecture in the search space.
        cell_hash: NAS-Bench-101 hash of the found architecture's cell.
        one_shot_validation_error: Error of the supernet at the end; for methods that sample, error of the found cell
            with the shared weights.
        seed: Seed of the trial.
        worker: Name of the worker that ran the trial.
        error: Description of a failure, with the traceback for a ``bug``.
    """

    status: Status
    validation_error: float | None = None
    test_error: float | None = None
    t_search_s: float = 0.0
    t_train_s: float | None = None
    architecture_index: int | None = None
    cell_hash: str | None = None
    one_shot_validation_error: float | None = None
    seed: int | None = None
    worker: str | None = None
    error: str | None = None

    @property
    def loss(self) -> float:
        """The number that BOHB minimises: the validation error, or the worst possible one for a failure."""
        return FAILURE_LOSS if self.validation_error is None else self.validation_error

    @property
    def t_sim_s(self) -> float:
        """The paper's simulated wall-clock time: seconds of search plus the table's training time."""
        return self.t_search_s + (self.t_train_s or 0.0)


class TrialResult(Record, frozen=True, kw_only=True):
    """An evaluation with its configuration and times.

    Attributes:
        config_id: (iteration, stage, index).
        config: Hyperparameter to value.
        model_based: True if the model proposed the configuration.
        budget: Search epochs; any number in logs of other programs.
        submitted: Unix seconds at which the master queued the job.
        started: Unix seconds at which a worker began the job.
        finished: Unix seconds at which the result arrived.
        evaluation: Outcome of the trial.
    """

    config_id: ConfigId
    config: Mapping[str, Value]
    model_based: bool
    budget: float
    submitted: float
    started: float
    finished: float
    evaluation: Evaluation
