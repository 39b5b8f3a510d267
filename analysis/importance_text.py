"""Importances as text for people: a table for each budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.importance import Importances
from analysis.importance.fanova import Names
from analysis.load import LoadedRun
from analysis.run_importances import BudgetImportances


def importances_text(run: LoadedRun, found: Sequence[BudgetImportances | str], n_pairs: int) -> str:
    """The tables of a run, without a line break at its end.

    Args:
        run: The run.
        found: Importances at each budget, or the sentence that says why there are none.
        n_pairs: Number of pairs per table; the others stand in one row.
    """
    lines = [run.title]
    for each in found:
        lines.append("")
        lines += [f"{each}."] if isinstance(each, str) else _table(each, n_pairs)
    if run.notes:
        lines += ["", *(f"({note})" for note in run.notes)]
    return "\n".join(lines)


def component_name(names: Names) -> str:
    """The name of a hyperparameter, or of a pair."""
    return " x ".join(names)


def r2_text(found: Importances) -> str:
    """The out-of-bag R2 as a number."""
    return "unknown" if found.out_of_bag_r2 is None else f"{found.out_of_bag_r2:.2f}"


def _table(each: BudgetImportances, n_pairs: int) -> Iterator[str]:
    found, pairs = each.found, each.pairs
    yield f"{each.evaluations.where}: {each.evaluations.counted}; out-of-bag R2 {r2_text(found)}"
    if found.warning:
        yield found.warning
    yield "Shares of the variance of the loss in percent:"
    shown = [*each.main_effects, *pairs[:n_pairs]]
    rest = sum(found.fractions[names] for names in pairs[n_pairs:])
    width = max(len(component_name(names)) for names in [*shown, ("higher orders......",)])
    columns = _columns(each)
    yield f"  {'':<{width}}" + "".join(f"  {title:>{max(6, len(title))}}" for title in columns)
    for names in shown:
        cells = [f"{_percent(shares[names]):>{max(6, len(title))}}" for title, shares in columns.items()]
        noise = "  noise" if each.is_noise(names) else ""
        yield f"  {component_name(names):<{width}}  {'  '.join(cells)}{noise}"
    if len(pairs) > n_pairs:
        yield f"  {f'{len(pairs) - n_pairs} other pairs':<{width}}  {_percent(rest):>6}"
    yield f"  {'higher orders':<{width}}  {_percent(found.higher_orders):>6}"
    for name, reason in found.left_out.items():
        yield f"  {name} is left out: {reason}"
    for name, view in each.views.items():
        if isinstance(view, str):
            yield f"  no column {name!r}: {view}"
        elif view.warning:
            yield f"  column {name!r}, out-of-bag R2 {r2_text(view)}: {view.warning}"


def _columns(each: BudgetImportances) -> dict[str, dict[Names, float]]:
    """Heading to component to share."""
    columns = {"share": dict(each.found.fractions), "± trees": dict(each.found.spreads)}
    if each.sample_spreads:
        columns["± samples"] = dict(each.sample_spreads)
    columns["noise floor"] = dict(each.floor)
    for name, view in each.views.items():
        if not isinstance(view, str):
            columns[name] = dict(view.fractions)
    return columns


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
