"""Black-box baselines: what finds cells by asking a table alone, without shared weights.

The registry loads a baseline when it is asked for, so that a help text can name them all at once.
"""

from __future__ import annotations

import pkgutil

from nas.blackbox.baseline import Baseline, MissingExtraError

#: Name -> module and class of a baseline; add one here and the command line, the tests and the docs know it.
BASELINES: dict[str, str] = {
    "random_search": "nas.blackbox.random_search:RandomSearch",
    "regularized_evolution": "nas.blackbox.regularized_evolution:RegularizedEvolution",
    "reinforce": "nas.blackbox.reinforce:Reinforce",
    "hyperband": "nas.blackbox.hyperband:Hyperband",
    "bohb": "nas.blackbox.bohb:Bohb",
    "smac": "nas.blackbox.smac:Smac",
    "tpe": "nas.blackbox.tpe:Tpe",
}


def find_baseline(name: str) -> type[Baseline]:
    """The class of a baseline.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in BASELINES:
        raise ValueError(f"--methods: got {name!r}, expected some of {', '.join(BASELINES)}")
    baseline: type[Baseline] = pkgutil.resolve_name(BASELINES[name])
    return baseline


__all__ = ["BASELINES", "Baseline", "MissingExtraError", "find_baseline"]
