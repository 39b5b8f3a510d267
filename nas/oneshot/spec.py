"""What a search is: one frozen record, every field documented; the command line derives from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

#: Fields that change where and how fast a search runs, and what it computes by rounding alone: a search may be
#: resumed with other values of these.
PLACEMENT_FIELDS = frozenset({"data_dir", "download", "device", "threads", "kernels"})
#: The largest values of any field: single precision holds what an optimizer makes of the one, an index the other.
LARGEST_FLOAT, LARGEST_INT = 1e30, 2**31 - 1
#: More threads than any machine has processors for.
MOST_THREADS = 1024


@dataclass(frozen=True)
class SearchSpec:
    """One one-shot search.

    A field left None takes the optimizer's own default (``Method.defaults``, the table of the paper's appendix C); one
    that the optimizer does not use must be left so.  Errors are fractions in [0, 1]; lengths are pixels;
    ``learning_rate`` etc. have no unit.

    Attributes:
        optimizer: The one-shot optimizer, a key of ``nas.oneshot.METHODS``.
        search_space: The search space, a key of ``spaces.SEARCH_SPACES``.
        dataset: The images to search on, a key of ``nas.datasets.DATASETS``, or the path of an
            ``.npz`` file.
        data_dir: The folder that holds the data set (``cifar-10-batches-py`` for CIFAR-10, an ``.npz`` file that has
            moved); None where it needs none, for ``data`` in the working directory, and for the file's own.
        download: Fetch the data set into ``data_dir`` if it is not there.
        split: ``tuning`` leaves the images that the table used for validation untouched and halves the
            rest (CIFAR-10: 20,000 for the weights, 20,000 for the architecture); ``plain`` halves all
            training images (25,000 and 25,000), as the paper does outside tuning.
        epochs: Passes over the images of the weights.
        seed: Every random draw of the search is derived from it.
        learning_rate: Of the weights (SGD), in the first epoch.
        learning_rate_min: Where the cosine schedule of the learning rate ends.
        momentum: Of the weights' SGD.
        weight_decay: L2 regularisation of the weights; left open, 3e-4 (enas 1e-4).
        cutout_prob: Probability that an image loses a square in the last epoch; it rises linearly from
            0 in the first epoch.
        cutout_length: Side of that square in pixels of a 32x32 image; smaller images lose the same
            fraction of their side (of the digits' 8 pixels, lengths up to 5 all take one).
        batch_size: Images a mini-batch, for the weights and for the architecture; left open, 96 (enas, random_ws 64).
            All images where there are fewer; at least 2, for BatchNorm leaves nothing of a single image's mean.
        grad_clip: The largest norm of the weights' gradient, to which longer ones are scaled down; left open, 5
            (enas, random_ws 0.25).
        arch_learning_rate: Of the architecture's (or the controller's) Adam; left open, 3e-4 (enas 3.5e-4).
        arch_weight_decay: L2 regularisation of the architecture weights; left open, 1e-3 (enas 0).
        warm_start_epochs: Epochs at the start in which only the weights are trained.
        n_stacks: Stacks of cells; pixels halve and channels double between stacks.
        cells_per_stack: Cells a stack.
        init_channels: Channels of the stem and of each choice block in the first stack.
        controller_steps: Updates of ENAS's controller after each epoch; left open, 300.
        final_samples: Architectures that are sampled and ranked at the end; left open, 1,000 (enas 100).
        device: Where to compute: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU if there is one.
        threads: CPU threads of the computation; None leaves PyTorch's choice.  Small searches are fastest with 1.
        precision: ``float32``; or ``bf16``, bfloat16 in convolutions and products (autocast).
        compile: Compile the supernet (``torch.compile``) where the optimizer computes the same
            operations in every step.
        kernels: What computes the cells on the CPU in float32: ``native`` for compiled C, ``torch`` for PyTorch,
            ``auto`` for native where there is a C compiler.
    """

    optimizer: str = "darts"
    search_space: str = "1"
    dataset: str = "digits"
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
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    kernels: Literal["auto", "native", "torch"] = "auto"

    def __post_init__(self) -> None:
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
        self._check("precision", self.precision in ("float32", "bf16"), "'float32' or 'bf16'")
        self._check("kernels", self.kernels in ("auto", "native", "torch"), "'auto', 'native' or 'torch'")

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
