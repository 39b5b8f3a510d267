"""Architectures as configurations, for methods that take a configuration space.

Each choice of an architecture is a categorical hyperparameter: the parent set of each block and of the output, and the
operation of each block, 9, 9 and 11 choices in spaces 1, 2 and 3. Of these 2, 1 and 1 have a single value. They are
left out, as there is nothing to choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spaces import SearchSpace

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace


class Encoding:
    """The choices of a search space by name.

    Attributes:
        n_values: Name of each choice, in the order of the space, to its number of values.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        nodes = range(1, space.n_blocks + 2)
        names = [*(f"parents_{node}" for node in nodes), *(f"operation_{node}" for node in nodes[:-1])]
        self._names = names
        self.n_values = {name: n for name, n in zip(names, space.radices, strict=True) if n > 1}

    def index(self, config: Mapping[str, Any]) -> int:
        """The encoded architecture of a configuration."""
        return int(self._space.encode_choices([config.get(name, 0) for name in self._names]))

    def config_space(self, seed: int) -> ConfigurationSpace:
        """The choices as ConfigSpace has them, seeded."""
        from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace

        space = ConfigurationSpace(name=f"search space {self._space.name}", seed=seed)
        space.add([CategoricalHyperparameter(name, list(range(n))) for name, n in self.n_values.items()])
        return space
