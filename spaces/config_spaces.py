"""The configuration spaces of the tuner: the hyperparameters of a one-shot search that BOHB tunes, and their ranges.

A space is plain data here; ``build`` loads ``ConfigSpace``, which is slow to import.

Source: Zela, Siems and Hutter (2020), *NAS-Bench-1Shot1*, section 5 and appendix; the defaults are DARTS's.

Differs from the original: the public code left the defaults of CS3 open.  Its "start from the default
configuration" therefore did not start from DARTS's defaults.  Here every hyperparameter has a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace


@dataclass(frozen=True)
class Hyperparameter:
    """A numerical hyperparameter; an integer one if its bounds are integers.

    Attributes:
        name: Name of the hyperparameter and of the field of ``nas.oneshot.spec.SearchSpec`` that it sets.
        lower: Smallest value.
        upper: Largest value, included.
        default: Value that DARTS uses; a study starts with its optimizer's own where that lies between the bounds.
        log: Logarithmic scale for drawing and modelling, in place of a linear one.
    """

    name: str
    lower: float | int
    upper: float | int
    default: float | int
    log: bool = False

    def __post_init__(self) -> None:
        if not self.lower <= self.default <= self.upper or (self.log and self.lower <= 0):
            raise ValueError(
                f"{self.name}: got {self.lower} .. {self.upper} with default {self.default}, expected the default "
                "between the bounds" + (", and a positive lower one on a log scale" if self.log else "")
            )

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.lower, int) and isinstance(self.upper, int)

    def checked(self, value: object) -> float | int:
        """Checks a value and returns it in this hyperparameter's type: an integer, or a float.

        Raises:
            ValueError: The value is no number of this type, or lies outside the bounds.
        """
        kinds = (int,) if self.is_integer else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.lower <= value <= self.upper:
            kind = "a whole number" if self.is_integer else "a number"
            raise ValueError(f"{self.name}: got {value!r}, expected {kind} from {self.lower} to {self.upper}")
        return value if self.is_integer else float(value)


@dataclass(frozen=True)
class TunerSpace:
    """A configuration space: its name and its hyperparameters, nothing else.

    Hyperparameters outside the space stay at the search's defaults.
    """

    name: str
    hyperparameters: tuple[Hyperparameter, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters' names, in the order of the definition."""
        return tuple(h.name for h in self.hyperparameters)

    @cached_property
    def default(self) -> dict[str, float | int]:
        """The default configuration."""
        return {h.name: h.default for h in self.hyperparameters}

    def complete(self, given: Mapping[str, float | int | str | bool]) -> dict[str, float | int | str | bool]:
        """Completes ``given`` to a whole configuration with the default of each missing hyperparameter.

        Raises:
            ValueError: A name does not belong to the space, or a value lies outside its bounds.
        """
        unknown = sorted(set(given) - set(self.names))
        if unknown:
            raise ValueError(f"configuration space {self.name}: got {unknown}, expected some of {list(self.names)}")
        return {h.name: h.checked(given[h.name]) if h.name in given else h.default for h in self.hyperparameters}

    def build(self, seed: int) -> ConfigurationSpace:
        """Builds the seeded space for ConfigSpace, which orders the hyperparameters by name."""
        from ConfigSpace import ConfigurationSpace, UniformFloatHyperparameter, UniformIntegerHyperparameter

        space = ConfigurationSpace(name=self.name, seed=seed)
        for h in self.hyperparameters:
            kind: Any = UniformIntegerHyperparameter if h.is_integer else UniformFloatHyperparameter
            space.add(kind(h.name, h.lower, h.upper, default_value=h.default, log=h.log))
        return space


WEIGHT_DECAY = Hyperparameter("weight_decay", 1e-5, 1e-3, default=3e-4, log=True)
CUTOUT_PROB = Hyperparameter("cutout_prob", 0.0, 1.0, default=0.0)
LEARNING_RATE = Hyperparameter("learning_rate", 1e-3, 1.0, default=0.025, log=True)
MOMENTUM = Hyperparameter("momentum", 0.0, 0.99, default=0.9)
CUTOUT_LENGTH = Hyperparameter("cutout_length", 2, 32, default=16, log=True)
BATCH_SIZE = Hyperparameter("batch_size", 16, 128, default=96)
GRAD_CLIP = Hyperparameter("grad_clip", 1, 9, default=5)
ARCH_LEARNING_RATE = Hyperparameter("arch_learning_rate", 1e-5, 1e-2, default=3e-4, log=True)
ARCH_WEIGHT_DECAY = Hyperparameter("arch_weight_decay", 1e-4, 1e-1, default=1e-3, log=True)

CS1 = TunerSpace("cs1", (WEIGHT_DECAY, CUTOUT_PROB))
CS2 = TunerSpace("cs2", (*CS1.hyperparameters, LEARNING_RATE))
CS3 = TunerSpace(
    "cs3",
    (
        *CS2.hyperparameters,
        MOMENTUM,
        CUTOUT_LENGTH,
        BATCH_SIZE,
        GRAD_CLIP,
        ARCH_LEARNING_RATE,
        ARCH_WEIGHT_DECAY,
    ),
)

#: Every configuration space by name; add one here and the command line, the tests and the docs know it.
CONFIG_SPACES: dict[str, TunerSpace] = {
    space.name: space
    for space in (
        CS1,
        CS2,
        CS3,
    )
}
