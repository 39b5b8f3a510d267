"""Gathering results of earlier runs, from which a study's sampler learns before its first proposal.

hpbandster refits its model at the last configuration of the earlier run only, so that after a warm start one budget
has a model (its issue 73); it raises if an earlier evaluation failed.  Here each result teaches the sampler exactly as
a result of the study itself: every budget has its observations, and failures follow the same rule
(``Status.informs_model``).

An earlier result is an observation, not an evaluation of the new study: it has no id there, takes no part in successive
halving, and is in no incumbent, trajectory or count.
"""

from __future__ import annotations

import logging

from master.compatibility import check_same_space, checked_config
from master.samplers import make_sampler
from results.reading import first_results, read_journals
from results.records import NO_DIFFERENCE, StudySpec, TrialResult
from results.run_directory import RunDirectory, RunNotFoundError
from results.warm_start import EarlierResult
from spaces import find_config_space

logger = logging.getLogger("nasbohb.master")

#: Fields of a study that decide what its losses measure, with the options that set them.
_OBJECTIVE = {
    "optimizer": "--optimizer",
    "search_space": "--search-space",
    "dataset": "--dataset",
    "table": "--table",
    "table_epochs": "--table-epochs",
}


def earlier_results(spec: StudySpec) -> list[EarlierResult]:
    """Reads the results of the runs that a study starts from, finished or not, run by run in their order of arrival.

    The sampler ranks earlier losses among the study's own. With another objective, one side would be all good.
    Therefore every difference in the objective is refused; other settings of the searches only cause a warning.
    Results above the study's largest budget are left out: their model would hide those of the study's budgets.

    Args:
        spec: The study; ``warm_start`` names the runs.

    Raises:
        ValueError: A path holds no run, or is named twice; a run has another objective or configuration space, holds a
            configuration outside of it, or has no result that teaches anything; or the study's sampler does not learn.
        OSError: A file of a run cannot be read.
    """
    if not spec.warm_start:
        return []
    if not make_sampler(spec).learns:
        raise ValueError(f"--warm-start: --sampler {spec.sampler} does not learn from results; choose bohb")
    for path in spec.warm_start:
        if spec.warm_start.count(path) > 1:
            raise ValueError(f"--warm-start: got {path} more than once; name each run once")
    return [EarlierResult(run=path, result=result) for path in spec.warm_start for result in _usable(path, spec)]


def _usable(path: str, spec: StudySpec) -> list[TrialResult]:
    """The results of a run that the study can learn, after all checks."""
    where = f"--warm-start {path}"
    try:
        run = RunDirectory.open(path)
    except RunNotFoundError as error:
        raise ValueError(f"--warm-start: {error}; `run_bohb.py import` makes a run of a log of hpbandster") from None
    earlier = run.spec()
    _check_objective(where, earlier, spec)
    space = find_config_space(spec.config_space)
    check_same_space(run.configspace_json, space, where)
    journals = read_journals(run)
    for result in journals.results:
        checked_config(result.config, space, f"{where}, configuration {list(result.config_id)}")
    _warn_of_settings(where, earlier, spec)
    if journals.left_out:
        n_more = len(journals.left_out) - 1
        logger.warning("%s: %s%s", where, journals.left_out[0], f"; and {n_more} more lines" if n_more else "")
    first = first_results(journals.results)
    usable = [result for result in first if result.budget <= spec.max_budget]
    if len(usable) < len(first):
        left_out = f"{len(first) - len(usable)} of {len(first)} results"
        logger.warning("%s: %s above the largest budget of %d epochs are left out", where, left_out, spec.max_budget)
    n_learned = sum(result.evaluation.status.informs_model for result in usable)
    if not n_learned:
        raise ValueError(f"{where}: there is nothing to learn at up to {spec.max_budget} epochs; leave this run out")
    logger.info("%s: %d results are learned, failures with the worst error", where, n_learned)
    return usable


def _check_objective(where: str, earlier: StudySpec, spec: StudySpec) -> None:
    """Refuses another objective."""
    for field, option in _OBJECTIVE.items():
        got, expected = getattr(earlier, field), getattr(spec, field)
        if got != expected:
            raise ValueError(
                f"{where}: got a run with {option} {got}, expected {expected}; losses of different objectives cannot "
                "be learned together"
            )


def _warn_of_settings(where: str, earlier: StudySpec, spec: StudySpec) -> None:
    """Warns of other settings of the searches, unless they change no result."""
    theirs, own = earlier.search_settings, spec.search_settings
    differing = [
        f"{name} {theirs.get(name, 'by default')} there and {own.get(name, 'by default')} here"
        for name in sorted({*theirs, *own} - NO_DIFFERENCE)
        if theirs.get(name) != own.get(name)
    ]
    if differing:
        logger.warning("%s: its searches were others: %s", where, "; ".join(differing))
