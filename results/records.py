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
    """How an evaluation ended.

    ``ok``, ``diverged``, ``out_of_memory`` and ``bad_config`` say something about the configuration and
    may inform the model; ``worker_lost`` is run again elsewhere; ``bug`` is a fault of the program.
    """

    OK = "ok"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_CONFIG = "bad_config"
    WORKER_LOST = "worker_lost"
    BUG = "bug"

    @property
    def informs_model(self) -> bool:
        """Whether the model may learn from an evaluation that ended so."""
        return self in (Status.OK, Status.DIVERGED, Status.OUT_OF_MEMORY, Status.BAD_CONFIG)


#: The loss that the model learns for a configuration that failed: the worst possible error.
FAILURE_LOSS = 1.0


class StudySpec(Record, frozen=True, kw_only=True):
    """Everything that defines a study; written to ``run.json`` before its first evaluation.

    Attributes:
        run_id: Names the study in the name server and in logs.
        optimizer: The one-shot optimizer, a key of ``nas.oneshot.METHODS``.
        search_space: A key of ``spaces.SEARCH_SPACES``.
        config_space: A key of ``spaces.CONFIG_SPACES``.
        dataset: What the searches train on, a key of ``nas.datasets.DATASETS``, or the absolute path of an
            ``.npz`` file.
        data_dir: The data set's folder, or None where it needs none.
        table: A key of ``nas.tabular.TABLES``, or the path of a store.
        table_epochs: The table's budget whose validation error is the objective (108 in the paper).
        min_budget: The smallest number of search epochs.
        max_budget: The largest number of search epochs.
        eta: The factor between budgets, and the fraction of configurations that is kept.
        n_iterations: How many iterations of successive halving.
        n_workers: How many workers the study is made for; it begins with the first that comes.
        seed: The study's seed; every trial's seed is derived from it.
        search_settings: Further settings of the searches, fields of ``nas.oneshot.SearchSpec``, that are the
            same for all trials (number of cells, initial channels, threads, ...).
        sampler: Way to propose configurations, a key of ``master.samplers.SAMPLERS``.
        default_config: Configuration that the others are compared with: the optimizer's own defaults, where they lie
            in the configuration space.
        initial_configs: Whole configurations that are evaluated first, in this order, whatever the sampler.
    """

    run_id: str
    optimizer: str
    search_space: str
    config_space: str
    dataset: str
    data_dir: str | None
    table: str
    table_epochs: int
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


class TrialSpec(Record, frozen=True, kw_only=True):
    """One configuration at one budget: all that a worker needs to run it.

    Attributes:
        study: The study that it belongs to.
        config_id: (iteration, stage, index).
        budget: Search epochs.
        config: Hyperparameter to value, as drawn from the configuration space.
        seed: Derived from (study seed, config_id, budget).
    """

    study: StudySpec
    config_id: ConfigId
    budget: int
    config: Mapping[str, Value]
    seed: int


class Evaluation(Record, frozen=True, kw_only=True):
    """The outcome of a trial.

    Attributes:
        status: How it ended; the other values are None unless it is ``ok``, but for ``t_search_s``.
        validation_error: The table's, mean over the repeats: the objective.
        test_error: The table's, mean over the repeats: reported, never optimised.
        t_search_s: Wall-clock seconds of the search.
        t_train_s: The table's training time of the cell.
        architecture_index: The found cell as an index of the search space.
        cell_hash: Its NAS-Bench-101 hash.
        one_shot_validation_error: At the end, of the supernet, or of the found cell with the shared weights for methods
            that sample.
        seed: The trial's seed.
        worker: The worker that ran it.
        error: What went wrong, with the traceback for a ``bug``.
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
        """What BOHB minimises: the validation error, or the worst possible one for a failure."""
        return FAILURE_LOSS if self.validation_error is None else self.validation_error

    @property
    def t_sim_s(self) -> float:
        """The paper's simulated wall-clock time: search plus the table's training time."""
        return self.t_search_s + (self.t_train_s or 0.0)


class TrialResult(Record, frozen=True, kw_only=True):
    """An evaluation with its configuration and times, as read back from a run.

    Attributes:
        config_id: (iteration, stage, index).
        config: Hyperparameter to value.
        model_based: Whether the model proposed the configuration.
        budget: Search epochs; in logs of other programs any number.
        submitted: Unix seconds at which the master queued the job.
        started: Unix seconds at which a worker began it.
        finished: Unix seconds at which its result arrived.
        evaluation: The outcome.
    """

    config_id: ConfigId
    config: Mapping[str, Value]
    model_based: bool
    budget: float
    submitted: float
    started: float
    finished: float
    evaluation: Evaluation
