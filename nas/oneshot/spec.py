"""What a search is: one frozen record, every field documented; the command line derives from it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from typing_extensions import Doc

from nas.datasets import DATASETS
from nas.oneshot.methods import METHODS
from spaces import SEARCH_SPACES

#: Fields that say where and how fast a search runs.  A search may be resumed with other values of these; its results
#: may then differ by rounding.
PLACEMENT_FIELDS = frozenset({"data_dir", "download", "device", "threads", "kernels", "graph"})
#: Upper limits of float and int fields.  Larger values overflow float32 inside the optimizer, or an index.
LARGEST_FLOAT, LARGEST_INT = 1e30, 2**31 - 1
#: More threads than any machine has processors for.
MOST_THREADS = 1024


@dataclass(frozen=True)
class SearchSpec:
    """One one-shot search.

    A field left None takes the optimizer's own default (``Method.defaults``; docs/oneshot.md has a table of them).  One
    that the optimizer does not use must be left so.  Errors are fractions in [0, 1]; lengths are pixels;
    ``learning_rate`` etc. have no unit.  Numbers of NumPy become built-in ones, paths become texts.

    Attributes:
        data_dir: Folder that holds the data set (``cifar-10-batches-py`` for CIFAR-10, an ``.npz`` file that has
            moved); None where it needs none, for ``data`` in the working directory, and for the file's own.
        download: Whether to fetch the data set into ``data_dir`` if it is not there.
        split: ``tuning`` leaves the images that the table used for validation untouched and halves the
            rest (CIFAR-10: 20,000 for the weights, 20,000 for the architecture); ``plain`` halves all
            training images (25,000 and 25,000), as the paper does outside tuning.
        epochs: Passes over the images of the weights.
        seed: Origin of every random draw of the search.
        learning_rate: Learning rate of the weights (SGD) in the first epoch.
        learning_rate_min: Learning rate at which the cosine schedule ends.
        momentum: Momentum of the weights' SGD.
        weight_decay: L2 regularisation of the weights; the optimizer's own by default.
        cutout_prob: Probability that an image loses a square in the last epoch; it rises linearly from
            0 in the first epoch.
        cutout_length: Side of that square in pixels of a 32x32 image.  Smaller images lose the same
            fraction of their side (of the digits' 8 pixels, lengths up to 5 all take one).
        batch_size: Images per mini-batch, for the weights and for the architecture; the optimizer's own by default.
            All images where there are fewer; at least 2, for BatchNorm leaves nothing of a single image's mean.
        grad_clip: Largest norm of the weights' gradient, to which longer ones are scaled down; the optimizer's own by
            default.
        arch_learning_rate: Learning rate of the architecture's (or the controller's) Adam; the optimizer's own by
            default.
        arch_weight_decay: L2 regularisation of the architecture weights; the optimizer's own by default.
        warm_start_epochs: Epochs at the start in which only the weights are trained.
        n_stacks: Stacks of cells; pixels halve and channels double between stacks.
        cells_per_stack: Cells per stack.
        init_channels: Channels of the stem and of each choice block in the first stack.
        controller_steps: Updates of ENAS's controller after each epoch; the optimizer's own by default.
        final_samples: Architectures that are sampled and ranked at the end; the optimizer's own by default.
        device: Device that computes: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU if there is one.
        threads: CPU threads of the computation; None leaves PyTorch's choice.  Small searches are fastest with 1.
        precision: ``float32``; ``tf32``, products of a GPU with 10 bits after the point; or ``bf16``, bfloat16 in
            convolutions and products (autocast).
        compile: Whether to compile the supernet (``torch.compile``); refused where the optimizer computes
            other operations in every step (GDAS on the CPU, ENAS, Random-WS).
        kernels: Code that computes the cells in float32: ``native`` for compiled C on the CPU and Triton on a GPU,
            ``torch`` for PyTorch, ``auto`` for native where it can be had.
        graph: Whether a GPU replays each step from a CUDA graph: ``on``, ``off``, or ``auto`` for on with a GPU.

    Raises:
        ValueError: A value is of another type than its field, or out of its range.
    """

    optimizer: Annotated[str, Doc(f"One-shot optimizer: {' or '.join(METHODS)}.")] = "darts"
    search_space: Annotated[str, Doc(f"Search space: {' or '.join(SEARCH_SPACES)}.")] = "1"
    dataset: Annotated[str, Doc(f"Images to search on: {', '.join(DATASETS)}, or the path of an .npz file.")] = "digits"
    data_dir: str | None = None
    download: bool = False
    split: Literal["tuning", "plain"] = "tuning"
    epochs: int = 50
    seed: int = 0
    learning_rate: float = 0.025
    learning_rate_min: float = 0.001
    momentum: float = 0.9
    weight_decay: float | None = None
    cutout_prob: float = 0.0
    cutout_length: int = 16
    batch_size: int | None = None
    grad_clip: float | None = None
    arch_learning_rate: float | None = None
    arch_weight_decay: float | None = None
    warm_start_epochs: int = 0
    n_stacks: int = 3
    cells_per_stack: int = 3
    init_channels: int = 16
    controller_steps: int | None = None
    final_samples: int | None = None
    device: str = "auto"
    threads: int | None = None
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    compile: bool = False
    kernels: Literal["auto", "native", "torch"] = "auto"
    graph: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        for name, kind in _types(type(self)).items():
            object.__setattr__(self, name, _built_in(name, getattr(self, name), kind))
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float):
                self._check(f.name, value <= LARGEST_FLOAT, f"a number up to {LARGEST_FLOAT}")
            elif isinstance(value, int) and f.name != "seed":
                self._check(f.name, value <= LARGEST_INT, f"at most {LARGEST_INT}")
        for name in ("epochs", "n_stacks", "cells_per_stack", "init_channels", "cutout_length"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name, least in (("batch_size", 2), ("controller_steps", 1), ("final_samples", 1), ("threads", 1)):
            self._check(
                name, getattr(self, name) is None or getattr(self, name) >= least, f"at least {least}, or nothing"
            )
        self._check("threads", self.threads is None or self.threads <= MOST_THREADS, f"at most {MOST_THREADS}")
        for name in ("seed", "weight_decay", "arch_weight_decay", "warm_start_epochs", "learning_rate_min"):
            self._check(name, getattr(self, name) is None or getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "grad_clip", "arch_learning_rate"):
            self._check(name, getattr(self, name) is None or getattr(self, name) > 0, "above 0")
        self._check(  # but for what a logarithmic scale makes of the same number
            "learning_rate_min",
            self.learning_rate_min <= self.learning_rate * (1 + 1e-9),
            f"at most the learning rate, {self.learning_rate!r}, from which it falls",
        )
        self._check("momentum", 0 <= self.momentum < 1, "0 to 1 (exclusive)")
        self._check("cutout_prob", 0 <= self.cutout_prob <= 1, "0 to 1")
        self._check("split", self.split in ("tuning", "plain"), "'tuning' or 'plain'")
        self._check("precision", self.precision in ("float32", "tf32", "bf16"), "'float32', 'tf32' or 'bf16'")
        self._check("kernels", self.kernels in ("auto", "native", "torch"), "'auto', 'native' or 'torch'")
        self._check("graph", self.graph in ("auto", "on", "off"), "'auto', 'on' or 'off'")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name}: got {getattr(self, name)!r}, expected {expected}")

    def to_dict(self) -> dict[str, Any]:
        """The specification as built-in types, field by field."""
        return asdict(self)

    def differences(self, other: SearchSpec) -> list[str]:
        """The fields, other than where it runs, in which two searches differ."""
        return [
            f"{f.name} {getattr(other, f.name)!r} instead of {getattr(self, f.name)!r}"
            for f in fields(self)
            if f.name not in PLACEMENT_FIELDS and getattr(self, f.name) != getattr(other, f.name)
        ]


@dataclass(frozen=True)
class Settings(SearchSpec):
    """A search without open fields, as ``nas.oneshot.resolve.resolve`` makes it of a specification.

    Fields that the optimizer does not use (``Method.uses``) have values that nobody reads.
    """

    batch_size: int = field(kw_only=True)
    grad_clip: float = field(kw_only=True)
    weight_decay: float = field(kw_only=True)
    arch_learning_rate: float = field(kw_only=True)
    arch_weight_decay: float = field(kw_only=True)
    controller_steps: int = field(kw_only=True)
    final_samples: int = field(kw_only=True)


#: Fields of ``SearchSpec`` that may be left to the optimizer.
OPEN_FIELDS = frozenset(f.name for f in fields(Settings) if f.kw_only)


def _types(record: type[SearchSpec]) -> dict[str, Any]:
    return get_type_hints(record)


def _built_in(name: str, value: Any, kind: Any) -> Any:
    """The value as the built-in type of its field.

    Raises:
        ValueError: It is of another type.
    """
    kinds = (str,) if get_origin(kind) is Literal else get_args(kind) or (kind,)
    if value is None and NoneType in kinds:
        return None
    base = kinds[0]
    if base is bool and isinstance(value, bool | np.bool_):
        return bool(value)
    if base is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if base is float and isinstance(value, Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    if base is str and isinstance(value, str | os.PathLike):
        return str(value)
    expected = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}[base]
    raise ValueError(f"{name}: got {value!r}, expected {expected}{' or nothing' if NoneType in kinds else ''}")
