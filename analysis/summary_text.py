"""A summary as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from analysis.load import LoadedRun
from analysis.summary import Comparison, Summary, Utilisation, Verdict
from results.incumbents import IncumbentMode
from results.records import Status, TrialResult
from spaces import OPERATIONS, SearchSpace

_MODE_NAMES = {
    IncumbentMode.ANY_BUDGET: "any budget",
    IncumbentMode.LARGEST_BUDGET: "largest budget only",
    IncumbentMode.LARGER_PREFERRED: "larger budgets preferred",
}


def summary_text(run: LoadedRun, summary: Summary) -> str:
    """The whole summary of a run, without a line break at its end."""
    lines = [run.title, "", *_evaluations(run, summary)]
    if summary.n_evaluations:
        lines += ["", *_incumbents(run, summary)]
        if run.description is not None:
            lines += ["", *_comparisons(summary)]
        lines += ["", *_times(summary)]
    if run.notes:
        lines += ["", *(f"({note})" for note in run.notes)]
    return "\n".join(lines)


def describe_cell(space: SearchSpace, architecture_index: int) -> str:
    """An architecture's choices, e.g. ``block 1: maxpool3x3(input) ... output(block 1, block 2)``."""
    choice = space.decode(architecture_index)
    names = ["input", *(f"block {number}" for number in range(1, space.n_blocks + 1))]
    parents = [", ".join(names[parent] for parent in nodes) for nodes in choice.parents]
    blocks = [
        f"{name} = {OPERATIONS[operation]}({sources})"
        for name, operation, sources in zip(names[1:], choice.operations, parents[:-1], strict=True)
    ]
    return "; ".join([*blocks, f"output({parents[-1]})"])


def _evaluations(run: LoadedRun, summary: Summary) -> Iterator[str]:
    if not summary.n_evaluations and run.missing:
        yield f"No evaluation is known: {' and '.join(run.missing)} missing."
    elif not summary.n_evaluations:
        yield "No evaluation has ended yet."
    else:
        statuses = [s for s in Status if any(s in of_budget for of_budget in summary.counts.values())]
        totals = {status: sum(counts.get(status, 0) for counts in summary.counts.values()) for status in statuses}
        yield f"Evaluations: {summary.n_evaluations} ({_counted(totals)})"
        for budget, counts in summary.counts.items():
            yield f"  {sum(counts.values()):>5} at {budget:g} epochs ({_counted(counts)})"
    if summary.n_pending:
        yield f"Configurations without a result: {summary.n_pending} (running now, or the study was stopped)"


def _counted(counts: Mapping[Status, int]) -> str:
    return ", ".join(f"{counts[status]} {status.value}" for status in Status if counts.get(status))


def _incumbents(run: LoadedRun, summary: Summary) -> Iterator[str]:
    incumbent = summary.incumbents[IncumbentMode.ANY_BUDGET]
    if incumbent is None:
        yield "Incumbent: none, as no evaluation succeeded"
        return
    yield f"Incumbent (lowest validation error): configuration {_at(incumbent)}"
    yield f"  {_errors(incumbent, run.best_test_error)}"
    yield "  " + ", ".join(f"{name} = {_value(value)}" for name, value in incumbent.config.items())
    evaluation = incumbent.evaluation
    if evaluation.architecture_index is not None and run.space is not None:
        yield f"  cell: {describe_cell(run.space, evaluation.architecture_index)}"
        yield f"  architecture {evaluation.architecture_index}, cell hash {evaluation.cell_hash}"
    for mode in (IncumbentMode.LARGEST_BUDGET, IncumbentMode.LARGER_PREFERRED):
        other = summary.incumbents[mode]
        if other is None:
            yield f"Incumbent, {_MODE_NAMES[mode]}: none yet"
        else:
            yield f"Incumbent, {_MODE_NAMES[mode]}: {_at(other)}, {_errors(other, run.best_test_error)}"


def _comparisons(summary: Summary) -> Iterator[str]:
    if not summary.comparisons:
        statuses = ", ".join(f"{s.value} at {budget:g} epochs" for budget, s in summary.default_statuses.items())
        yield f"Default configuration: no result to compare with ({statuses or 'not evaluated'})"
        return
    for comparison in summary.comparisons:
        yield compare_line(comparison)
    yield (
        "  (each is the one of lowest validation error; the best of many is lower than the best of few by chance, "
        "and at larger budgets)"
    )


def compare_line(comparison: Comparison) -> str:
    """One honest line on whether the incumbent beats the default configuration."""
    where = "over any budget" if comparison.budget is None else f"at {comparison.budget:g} epochs alone"
    ours, theirs = comparison.incumbent.evaluation.test_error, comparison.default.evaluation.test_error
    verdict = "unknown" if comparison.verdict is None else comparison.verdict.value
    hint = " than the default" if comparison.verdict in (Verdict.BETTER, Verdict.WORSE) else ""
    return (
        f"Incumbent test error {_error(ours)} ({_chosen(comparison.incumbent, comparison.n_evaluations)}) vs default "
        f"{_error(theirs)} ({_chosen(comparison.default, comparison.n_default)}): {verdict}{hint} ({where})"
    )


def _chosen(result: TrialResult, n: int) -> str:
    return f"{result.budget:g} epochs, best of {n}"


def _times(summary: Summary) -> Iterator[str]:
    times, workers = summary.times, summary.utilisation
    if times is None or workers is None:
        return
    yield (
        f"Search time: {duration(times.t_search_s)} in all, {duration(times.mean_t_search_s)} an evaluation; "
        f"training time by the table: {duration(times.t_train_s)}"
    )
    yield (
        f"Simulated time (search and training): {duration(times.t_search_s + times.t_train_s)} on one worker, "
        f"{duration(times.parallel_s)} on {_workers(workers)}"
    )
    if workers.fraction is not None:
        named = f" ({_busy(workers, sorted(workers.busy_s))})" if set(workers.busy_s) != {"unknown"} else ""
        yield (
            f"Workers: {_workers(workers)} for {duration(workers.span_s)}, busy {workers.fraction:.0%} of that{named}"
        )


def _busy(workers: Utilisation, names: Sequence[str]) -> str:
    if len(names) <= 4:
        return ", ".join(f"{name} {workers.busy_s[name] / workers.span_s:.0%}" for name in names)
    shares = [workers.busy_s[name] / workers.span_s for name in names]
    return f"{len(names)} took jobs, the least busy {min(shares):.0%}, the busiest {max(shares):.0%}"


def _workers(workers: Utilisation) -> str:
    return "1 worker" if workers.n_workers == 1 else f"{workers.n_workers} workers"


def _at(result: TrialResult) -> str:
    return f"{result.config_id} at {result.budget:g} epochs"


def _errors(result: TrialResult, best_test_error: float | None) -> str:
    evaluation = result.evaluation
    text = f"validation error {_error(evaluation.validation_error)}, test error {_error(evaluation.test_error)}"
    if evaluation.test_error is None or best_test_error is None:
        return text
    return f"{text}, test regret {evaluation.test_error - best_test_error:.4f}"


def _error(error: float | None) -> str:
    return "unknown" if error is None else f"{error:.4f}"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as people read them: ``0.52 s``, ``12.3 s``, ``4 min 05 s``, ``3 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
