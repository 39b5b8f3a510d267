"""Maps of the loss over two hyperparameters, averaged over all others: what the figures of pairs share.

The colours are those of viridis, so a darker field has a lower loss, in grey too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.evaluations import Evaluations, forests_of
from analysis.figures.figure import DoesNotApplyError, thinned
from analysis.figures.scales import FloatArray, Scale, scales_of, values_at
from analysis.importance import Importances, Marginal, Surrogate, importances
from analysis.load import LoadedRun

COLOURS = "viridis"
#: Above this number, points are pixels in PDF files, too.
_MOST_VECTORS = 1_000
_INCUMBENT, _DEFAULT, _FAILED = "#D55E00", "#FFFFFF", "#CC79A7"


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A forest of a run at one budget.

    Attributes:
        evaluations: Evaluations that it was fitted to.
        surrogate: Forest.
        found: Its importances.
        scales: Hyperparameter to its axis.
    """

    evaluations: Evaluations
    surrogate: Surrogate
    found: Importances
    scales: Mapping[str, Scale]

    def pairs(self) -> list[tuple[str, str]]:
        """The pairs by falling share of their interaction.

        Raises:
            DoesNotApplyError: Fewer than two hyperparameters vary.
        """
        pairs = [(names[0], names[1]) for names in self.found.fractions if len(names) == 2]
        if not pairs:
            raise DoesNotApplyError(f"{self.evaluations.where.lower()}, fewer than two hyperparameters vary")
        return sorted(pairs, key=lambda pair: -self.found.of(*pair))


def fitted(run: LoadedRun, *, at_most: int | None = None) -> list[Fitted]:
    """The forest at each budget that has one, ascending.

    Args:
        run: The run.
        at_most: Number of budgets, the largest ones; None for all.

    Raises:
        DoesNotApplyError: No budget has one, or there are fewer than two hyperparameters.
    """
    if run.is_searches:
        raise DoesNotApplyError("it shows studies, and there are single searches")
    if run.tuner_space is not None and len(run.tuner_space) < 2:
        raise DoesNotApplyError("the configuration space has fewer than two hyperparameters")
    try:
        forests = forests_of(run, at_most=at_most)
    except ValueError as error:
        raise DoesNotApplyError(str(error)) from error
    return [
        Fitted(
            evaluations=evaluations,
            surrogate=forest,
            found=importances(forest),
            scales=scales_of(evaluations.dimensions),
        )
        for evaluations, forest in forests
    ]


def map_rows(marginal: Marginal) -> Iterator[tuple[Any, Any, float, float]]:
    """The fields of a map: both values, mean and standard deviation over the trees."""
    for row, x in enumerate(marginal.values[0]):
        for column, y in enumerate(marginal.values[1]):
            yield x, y, float(marginal.mean[row, column]), float(marginal.spread[row, column])


def shared_norm(marginals: Sequence[Marginal]) -> Normalize:
    """The scale of colours that all maps of a figure have."""
    return Normalize(min(each.mean.min() for each in marginals), max(each.mean.max() for each in marginals))


def draw_map(axes: Axes, marginal: Marginal, scales: Mapping[str, Scale], norm: Normalize) -> None:
    """Draws the fields of a map; the axes have the original scales."""
    x, y = (scales[name] for name in marginal.names)
    edges = x.edges(marginal.values[0]), y.edges(marginal.values[1])
    axes.pcolormesh(*edges, marginal.mean.T, norm=norm, cmap=COLOURS, rasterized=True)


def draw_points(axes: Axes, evaluations: Evaluations, x: Scale, y: Scale, norm: Normalize, size: float = 22) -> None:
    """Draws the evaluations in the colours of their losses, failures, the default configuration and the incumbent."""
    at_x, at_y = _places(thinned(evaluations.configurations), x, y)
    colours: dict[str, Any] = {"c": thinned(evaluations.losses.tolist()), "norm": norm, "cmap": COLOURS}
    places = axes.scatter(at_x, at_y, s=size, edgecolors="white", linewidths=0.8, zorder=3, **colours)
    places.set_rasterized(len(at_x) > _MOST_VECTORS)
    axes.scatter([], [], s=size, color="0.5", edgecolors="black", label="evaluation in the colour of its loss")
    if evaluations.failed:
        at_x, at_y = _places(evaluations.failed, x, y)
        axes.scatter(
            at_x, at_y, s=1.4 * size, marker="x", color=_FAILED, linewidths=1.6, zorder=3, label="failed evaluation"
        )
    for config, colour, marker, label in (
        (evaluations.default, _DEFAULT, "v", "default configuration"),
        (evaluations.incumbent, _INCUMBENT, "*", "incumbent"),
    ):
        if config is not None and {x.name, y.name} <= set(config):
            at_x, at_y = _places([config], x, y)
            axes.plot(at_x, at_y, marker, color=colour, markeredgecolor="black", markersize=2 * size**0.5, label=label,
                      zorder=4, clip_on=False, linestyle="none")  # fmt: skip


def _places(configurations: Sequence[Mapping[str, Any]], x: Scale, y: Scale) -> tuple[FloatArray, FloatArray]:
    """The coordinates of configurations on both axes, [n] each."""
    return x.coordinates(values_at(x.name, configurations)), y.coordinates(values_at(y.name, configurations))


def add_colours(figure: Figure, axes: Sequence[Axes], norm: Normalize, label: str) -> None:
    """Adds the scale of colours; losses of evaluations may lie outside of it."""
    colours = figure.colorbar(ScalarMappable(norm, COLOURS), ax=list(axes), extend="both", aspect=35, pad=0.02)
    colours.set_label(f"{label},\nmean over all other hyperparameters", fontsize=9)
    colours.ax.tick_params(labelsize=8)


def add_legend(figure: Figure, axes: Axes) -> None:
    """Adds the legend of the points below the panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9, labelcolor="black")
