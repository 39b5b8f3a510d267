"""Runs that are compared: the same method over several seeds is one, methods on the same problem stand side by side.

A *problem* is a search space with a data set and a table at one number of epochs. A *method* is all else that a study
is made of, but for its seed and its name. Methods are named by what tells them apart.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.aggregation import Spread, StepFunction
from analysis.load import LoadedRun
from analysis.regret import NoRegretError, Regret, course_of_run, curve_of_run
from analysis.trajectory import Axis
from results.incumbents import IncumbentMode
from results.records import NO_DIFFERENCE, StudySpec

#: Fields of a study that do not tell methods apart: its name, what the problem and the pairing go by, and what is kept.
_NO_METHOD = frozenset(
    {"run_id", "seed", "search_space", "dataset", "data_dir", "table", "table_epochs", "table_sha256", "keep_every"}
)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What of the runs is compared, and how it is summarised.

    Attributes:
        axis: What the studies spend.
        mode: Rule that chooses the incumbents of studies.
        regret: Definition of the test regret.
        spread: Centre and band of several runs.
    """

    axis: Axis = Axis.SERIAL
    mode: IncumbentMode = IncumbentMode.ANY_BUDGET
    regret: Regret = field(default_factory=Regret)
    spread: Spread = Spread.STD


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What methods are compared on.

    Attributes:
        search_space: Name of the search space.
        table: Name of the table, or its path.
        epochs: Training epochs of the table at which cells are judged.
    """

    search_space: str
    table: str
    epochs: int

    @property
    def title(self) -> str:
        """The problem in words."""
        return f"search space {self.search_space}, table {Path(self.table).name} at {self.epochs} epochs"


@dataclass(frozen=True, kw_only=True)
class Method:
    """Runs of one method on a problem.

    Attributes:
        name: The method in words.
        curves: Seed to the regret of the incumbent.
        n_without: Number of further runs, in which no evaluation succeeded.
        pairing: Meaning of the seeds; methods of the same meaning are paired by seed.
        key: All that makes the method of a study, as text; empty for others.
    """

    name: str
    curves: Mapping[int, StepFunction]
    n_without: int = 0
    pairing: str = "study"
    key: str = ""

    @property
    def counted(self) -> str:
        """The name with the number of runs."""
        n = len(self.curves)
        runs = f"{n} run{'' if n == 1 else 's'}"
        return f"{self.name} ({runs}{f', {self.n_without} more without a result' if self.n_without else ''})"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Methods on one problem.

    Attributes:
        problem: The problem.
        methods: Methods with at least one run that has a value, in the order in which they were given.
    """

    problem: Problem
    methods: tuple[Method, ...]


def contests_of(runs: Sequence[LoadedRun], choices: Choices) -> tuple[tuple[Contest, ...], tuple[str, ...]]:
    """Groups runs by problem and method.

    Returns:
        The contests, and a note for each run and each method that is left out.

    Raises:
        ValueError: A study was given twice, or nothing is left, which the notes of the runs explain.
    """
    curves: dict[Problem, dict[str, dict[int, StepFunction]]] = {}
    studies: dict[str, StudySpec] = {}
    notes = []
    for run in runs:
        if run.description is None:
            notes.append(f"{run.path.name} is left out: a log without run.json names no search space and no seed")
            continue
        study = run.description.spec
        try:
            curve = curve_of_run(run, choices.axis, choices.mode, choices.regret)
        except NoRegretError as error:
            notes.append(f"left out: {error}")
            continue
        key = method_key(study)
        studies.setdefault(key, study)
        seeds = curves.setdefault(problem_of(study), {}).setdefault(key, {})
        if study.seed in seeds:
            raise ValueError(
                f"{run.path.name}: another run is the same study with the same seed {study.seed}; name one of them"
            )
        seeds[study.seed] = curve
    names = method_names(studies)
    contests = []
    for problem, of in curves.items():
        methods = [_method(names[key], key, seeds) for key, seeds in of.items()]
        if any(methods):
            contests.append(Contest(problem=problem, methods=tuple(m for m in methods if m)))
        notes += [
            _left_out(names[key], problem, len(seeds))
            for method, (key, seeds) in zip(methods, of.items(), strict=True)
            if method is None
        ]
    if not contests:
        reasons = [*notes, *notes_of_runs(runs)]
        raise ValueError(f"no run has a test regret to compare: {'; '.join(reasons)}")
    return tuple(contests), tuple(notes)


def notes_of_runs(runs: Sequence[LoadedRun]) -> tuple[str, ...]:
    """What is unusual about each run, with its name."""
    return tuple(f"{run.path.name}: {note}" for run in runs for note in run.notes)


def notes_of_failures(contests: Sequence[Contest]) -> tuple[str, ...]:
    """A sentence for each method of which some runs have no success."""
    return tuple(
        f"{method.name} on {contest.problem.title}: no evaluation succeeded in {method.n_without} of "
        f"{method.n_without + len(method.curves)} runs, which are left out of means and intervals"
        for contest in contests
        for method in contest.methods
        if method.n_without
    )


def with_defaults(
    contests: Sequence[Contest], runs: Sequence[LoadedRun], choices: Choices
) -> tuple[tuple[Contest, ...], tuple[str, ...]]:
    """Adds to each method of studies its default configuration alone: its evaluations, one after the other.

    A study of nothing but the default configuration is that already.

    Args:
        contests: What ``contests_of`` made of the runs.
        runs: The runs.
        choices: What of the runs is compared.

    Returns:
        The contests, and a note for each default configuration that is left out.
    """
    found, notes = [], []
    for contest in contests:
        methods, names = list(contest.methods), _names_of_defaults(contest.methods)
        for method in contest.methods:
            curves = {}
            for run in runs:
                seed = seed_in(run, contest.problem, method)
                alone = None if seed is None else [r for r in run.results if r.config_id in run.default_ids]
                if seed is not None and alone and len(alone) < len(run.results):
                    curve = course_of_run(run, alone, choices.axis, choices.regret).curve(
                        choices.regret, choices.mode, run.largest_budget
                    )
                    curves[seed] = replace(curve, end=max(curve.end, method.curves[seed].end))
            default = _method(names[method.name], method.key, curves)
            if default is not None:
                methods.append(default)
            elif curves:
                notes.append(_left_out(names[method.name], contest.problem, len(curves)))
        found.append(replace(contest, methods=tuple(methods)))
    return tuple(found), tuple(notes)


def _names_of_defaults(methods: Sequence[Method]) -> dict[str, str]:
    """Name of a tuned method to that of its default, which leaves out the sampler where it is no matter."""
    untuned = {method.name: method.name.partition("-")[2] for method in methods}
    several = {name for name, n in Counter(untuned.values()).items() if n > 1}
    return {name: f"{name if short in several else short} default" for name, short in untuned.items()}


def seed_in(run: LoadedRun, problem: Problem, method: Method) -> int | None:
    """The seed of a run that belongs to a method on a problem; None if it does not."""
    if run.description is None or problem_of(run.description.spec) != problem:
        return None
    study = run.description.spec
    return study.seed if method_key(study) == method.key and study.seed in method.curves else None


def method_key(study: StudySpec) -> str:
    """All that makes a study's method, as text."""
    return json.dumps(_method_fields(study), sort_keys=True)


def problem_of(study: StudySpec) -> Problem:
    """The problem of a study."""
    return Problem(search_space=study.search_space, table=study.table, epochs=study.table_epochs)


def method_names(studies: Mapping[str, StudySpec]) -> dict[str, str]:
    """Names studies by sampler and optimizer, as the paper does (BOHB-DARTS), and by other fields that differ."""
    fields = {key: _method_fields(study) for key, study in studies.items()}
    differing = [
        name
        for name in next(iter(fields.values()), {})
        if name not in ("sampler", "optimizer", "default_config", "initial_configs")
        and len({json.dumps(of[name], sort_keys=True) for of in fields.values()}) > 1
    ]
    all_of = {name: [of[name] for of in fields.values()] for name in differing}
    names = {}
    for key, of in fields.items():
        parts = ", ".join(f"{name.replace('_', ' ')} {_short(of[name], all_of[name])}" for name in differing)
        tuned = f"{of['sampler']}-{of['optimizer']}"
        names[key] = f"{tuned} ({parts})" if parts else tuned
    taken: dict[str, int] = {}
    for key, name in names.items():
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:  # they differ in their default or initial configurations alone
            names[key] = f"{name}, other initial configurations {taken[name] - 1}"
    return names


def _left_out(name: str, problem: Problem, n: int) -> str:
    runs = "its only run" if n == 1 else f"any of its {n} runs"
    return f"{name} on {problem.title} is left out: no evaluation succeeded in {runs}"


def _method(name: str, key: str, curves: Mapping[int, StepFunction]) -> Method | None:
    with_value = {seed: curve for seed, curve in sorted(curves.items()) if len(curve.x)}
    if not with_value:
        return None
    return Method(name=name, key=key, curves=with_value, n_without=len(curves) - len(with_value))


def _method_fields(study: StudySpec) -> dict[str, Any]:
    fields = {name: value for name, value in study.to_dict().items() if name not in _NO_METHOD}
    settings = fields["search_settings"].items()
    same = {name: value for name, value in settings if name not in NO_DIFFERENCE}
    # Each seed may start from runs of its own: their number makes the method, not their paths.
    return fields | {"search_settings": same, "warm_start": len(study.warm_start)}


def _short(value: object, others: Sequence[object]) -> str:
    """A value in a name; of settings, those in which the others differ."""
    if not isinstance(value, Mapping):
        return str(value)
    mappings = [other for other in others if isinstance(other, Mapping)]
    shown = {k: v for k, v in value.items() if any(k not in other or other[k] != v for other in mappings)}
    return " ".join(f"{k}={v}" for k, v in shown.items()) or "default"
