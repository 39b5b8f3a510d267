"""Two LaTeX tables of runs: incumbents beside the default configuration, and the hyperparameters of both.

The tables need the package ``booktabs`` alone. Errors are in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from analysis.importance import Dimension, Float, Integer, dimensions_of
from analysis.load import LoadedRun, run_names
from analysis.summary import best_of
from results.records import Status, TrialResult, Value

_NONE = "--"
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def latex_content(runs: Sequence[LoadedRun]) -> bytes:
    """Both tables of runs, a row or a column per run; incumbents are those of lowest validation error at any budget."""
    names = run_names(runs)
    tables = [_incumbents(names, runs), _hyperparameters(names, runs)]
    return ("% \\usepackage{booktabs}\n" + "\n".join(tables)).encode()


def _incumbents(names: Sequence[str], runs: Sequence[LoadedRun]) -> str:
    of_run = ["Run", "Optimizer", "Space", "Evaluations", "Failed"]
    header = [*of_run, "Epochs", "Validation", "Test", "Regret", "Epochs", "Validation", "Test"]
    groups = r" & & & & & \multicolumn{4}{c}{Incumbent} & \multicolumn{3}{c}{Default configuration} \\"
    rules = r"\cmidrule(lr){6-9} \cmidrule(lr){10-12}"
    rows = [_incumbent_row(name, run) for name, run in zip(names, runs, strict=True)]
    caption = (
        "Incumbents (lowest validation error at any budget) beside the best evaluation of the default configuration. "
        "Errors in percent, means over the repeats of the table; the regret is the test error minus the lowest in the "
        "search space."
    )
    return _table("lll" + "r" * 9, [groups, rules, _row(header)], rows, caption, "tab:incumbents")


def _incumbent_row(name: str, run: LoadedRun) -> list[str]:
    study = None if run.description is None else run.description.spec
    failed = sum(result.evaluation.status is not Status.OK for result in run.results)
    best = best_of(run.results)
    # A log that states no default configuration has none to compare with.
    default_ids = frozenset() if study is None else run.default_ids
    default = best_of([result for result in run.results if result.config_id in default_ids])
    test_error = None if best is None else best.evaluation.test_error
    regret = None if test_error is None or run.best_test_error is None else test_error - run.best_test_error
    of_study = [_NONE, _NONE] if study is None else [_text(study.optimizer), _text(study.search_space)]
    counts = [str(len(run.results)), str(failed)]
    return [_text(name), *of_study, *counts, *_errors(best), _percent(regret), *_errors(default)]


def _errors(result: TrialResult | None) -> list[str]:
    """Budget, validation error and test error."""
    if result is None:
        return [_NONE] * 3
    evaluation = result.evaluation
    return [f"{result.budget:g}", _percent(evaluation.validation_error), _percent(evaluation.test_error)]


def _hyperparameters(names: Sequence[str], runs: Sequence[LoadedRun]) -> str:
    """A row per hyperparameter; the range, then default and incumbent of each run."""
    dimensions = {d.name: d for run in runs if run.tuner_space is not None for d in dimensions_of(run.tuner_space)}
    bests = [best_of(run.results) for run in runs]
    defaults = [None if run.description is None else run.description.spec.default_config for run in runs]
    found = dict.fromkeys(name for best in bests if best is not None for name in best.config)
    rows = []
    for name in dict.fromkeys([*dimensions, *found]):
        row = [_text(name.replace("_", " ")), _range(dimensions.get(name))]
        for default, best in zip(defaults, bests, strict=True):
            row += [_value((default or {}).get(name)), _value(None if best is None else best.config.get(name))]
        rows.append(row)
    groups = " & " + "".join(rf" & \multicolumn{{2}}{{c}}{{{_text(name)}}}" for name in names) + r" \\"
    rules = " ".join(rf"\cmidrule(lr){{{3 + 2 * i}-{4 + 2 * i}}}" for i in range(len(runs)))
    header = _row(["Hyperparameter", "Range", *["Default", "Incumbent"] * len(runs)])
    caption = "Hyperparameters of the default configurations and of the incumbents; log: on a logarithmic scale."
    return _table("ll" + "rr" * len(runs), [groups, rules, header], rows, caption, "tab:hyperparameters")


def _table(columns: str, head: Iterable[str], rows: Iterable[Sequence[str]], caption: str, label: str) -> str:
    return "\n".join(_lines(columns, head, rows, caption, label)) + "\n"


def _lines(columns: str, head: Iterable[str], rows: Iterable[Sequence[str]], caption: str, label: str) -> Iterator[str]:
    yield r"\begin{table}"
    yield r"  \centering"
    yield f"  \\caption{{{caption}}}"
    yield f"  \\label{{{label}}}"
    yield f"  \\begin{{tabular}}{{{columns}}}"
    yield r"    \toprule"
    yield from (f"    {line}" for line in head)
    yield r"    \midrule"
    yield from (f"    {_row(row)}" for row in rows)
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    yield r"\end{table}"


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _text(text: str) -> str:
    """A text with LaTeX's special characters escaped."""
    return "".join(_SPECIAL.get(char, f"\\{char}" if char in "&%$#_{}" else char) for char in text)


def _percent(error: float | None) -> str:
    return _NONE if error is None else f"{100 * error:.2f}"


def _range(dimension: Dimension | None) -> str:
    if dimension is None:
        return _NONE
    if isinstance(dimension, Float | Integer):
        log = ", log" if dimension.log else ""
        return f"{_value(dimension.lower)} to {_value(dimension.upper)}{log}"
    choices: Sequence[Value] = getattr(dimension, "choices", ())
    return ", ".join(_value(choice) for choice in choices)


def _value(value: Value | None) -> str:
    """A value; floats with three digits, powers of ten as LaTeX writes them."""
    if value is None:
        return _NONE
    if not isinstance(value, float):
        return _text(str(value))
    if value and not 1e-3 <= abs(value) < 1e4:
        mantissa, _, power = f"{value:.2e}".partition("e")
        return rf"${float(mantissa):g} \cdot 10^{{{int(power)}}}$"
    return f"{value:.3g}"
