"""One-shot errors of many architectures with the weights of a search, beside what their cells reach by themselves.

Source: paper, section 5.2, which correlates the two over all architectures of a space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from nas.oneshot import checkpoint
from nas.oneshot.data import load_data
from nas.oneshot.loop import Search
from nas.oneshot.methods.sampling import SamplingMethod
from nas.oneshot.model.batches import fixed_batches
from nas.oneshot.model.evaluation import EVALUATION_BATCH_SIZE
from nas.oneshot.resolve import device_of, relocate
from nas.oneshot.search import restore, table_figures, what_was_computed
from nas.oneshot.threads import use_threads
from nas.tabular.table import Table
from results.one_shot_errors import OneShotError
from spaces.enumeration import distinct_architectures

#: Architectures that are evaluated between two writes to the disk.
CHUNK = 20
#: Architectures that are evaluated by default: of a search space, and of a learned policy.
RANDOM_DRAWS, POLICY_DRAWS = 200, 100


class SharedWeights:
    """The supernet of a search after one of its epochs.

    Discrete architectures are computed as the method trained them: where it mixes with edge weights that add up to 1,
    the chosen parents of a block are averaged, elsewhere they are summed.

    Args:
        directory: Directory of a search (``search --directory``), or of a trial of a study.
        epoch: Epoch whose weights are taken, one that ``run_search(keep_every=...)`` has kept; the last one if None.
        placement: Fields of ``SearchSpec`` that say where to compute (``spec.PLACEMENT_FIELDS``), if elsewhere.

    Attributes:
        epoch: Epochs that trained the weights.
        fingerprint: First 16 hexadecimal digits of the SHA-256 of the weights.
        averages_parents: Whether discrete architectures average their parents.

    Raises:
        CheckpointError: There is no checkpoint, or it cannot be read.
        DatasetError: The images of the search are not here.
        ValueError: The search's optimizer or the device is not here.
    """

    def __init__(self, directory: Path | str, epoch: int | None = None, **placement: Any) -> None:
        directory = Path(directory)
        state = checkpoint.read_checkpoint(directory, epoch)
        if state is None:
            raise checkpoint.CheckpointError(
                f"{directory}: holds no {checkpoint.checkpoint_name(epoch)}; expected the directory of a search, or of "
                "a trial (trials/0_0_0/25) of a study that keeps weights (study --keep-every)"
                + ("" if epoch is None else ", that has kept this epoch (search --keep-every)")
            )
        computed, reports = what_was_computed(state, directory)
        self.settings = relocate(computed, **placement)
        if device_of(self.settings).type == "cpu":
            use_threads(self.settings.threads)
        self.search = Search(self.settings, load_data(self.settings))
        restore(self.search, state, directory)
        self.epoch = len(reports)
        self.fingerprint = _fingerprint(state["supernet"])
        self.averages_parents = self.search.method.averages_parents

    def choose(self, n: int | None = None, seed: int = 0) -> list[int]:
        """Indices of architectures to evaluate, each once; more of them are these and others.

        Args:
            n: Number of architectures; 0 for all distinct ones of the space.  By default 200 of these, drawn at
                random; under a method with a learned policy (ENAS) 100 draws of the policy, as in the paper's
                section 5.2.
            seed: Seed of the draw.
        """
        method, space = self.search.method, self.search.space
        if n != 0 and isinstance(method, SamplingMethod) and method.updates_architecture:
            with method.drawing_from(torch.Generator().manual_seed(seed)):
                drawn = [method.sample(1)[0] for _ in range(POLICY_DRAWS if n is None else n)]
            return list(dict.fromkeys(space.encode(architecture) for architecture in drawn))
        every = distinct_architectures(space)
        if n != 0:
            every = np.random.default_rng(seed).permutation(every)[: RANDOM_DRAWS if n is None else n]
        return [int(index) for index in every]

    def n_images(self, at_most: int | None) -> int:
        """Number of images that ``errors(..., n_images=at_most)`` uses."""
        return len(self.search.data.architecture.first(at_most))

    def errors(
        self, architectures: Sequence[int], n_images: int | None = None, table: Table | None = None
    ) -> Iterator[list[OneShotError]]:
        """Evaluates architectures, some at a time, on the first images of the architecture's half; on all if None.

        Raises:
            DivergedError: An output of the supernet is not finite.
        """
        space, evaluator = self.search.space, self.search.evaluator
        batches = fixed_batches(self.search.data.architecture.first(n_images), EVALUATION_BATCH_SIZE)
        for start in range(0, len(architectures), CHUNK):
            chunk = architectures[start : start + CHUNK]
            errors = evaluator.architecture_errors(
                [space.decode(index) for index in chunk], batches, average_parents=self.averages_parents
            )
            cells = [space.cell_of(index) for index in chunk]
            yield [
                OneShotError(
                    fingerprint=self.fingerprint,
                    epoch=self.epoch,
                    n_images=self.n_images(n_images),
                    architecture_index=index,
                    cell_hash=cell.hash,
                    one_shot_validation_error=error,
                    table=table_figures(cell, table),
                )
                for index, cell, error in zip(chunk, cells, errors.tolist(), strict=True)
            ]

    def beside(self, errors: Sequence[OneShotError], table: Table | None) -> list[OneShotError]:
        """The same errors with what a table says of their cells now."""
        space = self.search.space
        return [
            msgspec.structs.replace(error, table=table_figures(space.cell_of(error.architecture_index), table))
            for error in errors
        ]


def _fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
