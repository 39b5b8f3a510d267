"""The samplers, which propose configurations and learn from losses; they know nothing of the execution.

The registry loads a sampler when it is asked for, so that a help text can name them all at once.
"""

from __future__ import annotations

import pkgutil

from master.samplers.sampler import Sampler
from results.records import StudySpec
from spaces import find_config_space

#: Name -> module and class of a sampler; add one here and the command line, the tests and the docs know it.
SAMPLERS: dict[str, str] = {
    "bohb": "master.samplers.kde:KdeSampler",
    "bohb_pending": "master.samplers.pending:PendingKdeSampler",
    "random": "master.samplers.random:RandomSampler",
    "listed": "master.samplers.listed:ListedSampler",
}


def make_sampler(spec: StudySpec) -> Sampler:
    """Makes the sampler of a study, over the study's configuration space.

    Raises:
        ValueError: The sampler or the configuration space is unknown.
    """
    if spec.sampler not in SAMPLERS:
        raise ValueError(f"--sampler: got {spec.sampler!r}, expected one of {', '.join(SAMPLERS)}")
    sampler: type[Sampler] = pkgutil.resolve_name(SAMPLERS[spec.sampler])
    return sampler(find_config_space(spec.config_space).build(spec.seed))


__all__ = ["SAMPLERS", "Sampler", "make_sampler"]
