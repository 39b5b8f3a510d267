"""The GPUs of this machine, found without PyTorch, which takes seconds to load."""

from __future__ import annotations

import os
import re
import subprocess

#: Variable that says which GPUs a process sees.
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: Name of all GPUs that this process sees.
ALL = "all"


def gpu_environments(gpus: str | None, workers_per_gpu: int) -> list[dict[str, str]]:
    """Makes the environments of the workers: each sees one GPU, and each GPU is seen by as many workers.

    Args:
        gpus: ``all`` for those that this process sees; or names of GPUs, as in CUDA_VISIBLE_DEVICES; None for none.
        workers_per_gpu: Number of workers on each GPU.

    Returns:
        [n_gpus * workers_per_gpu] Variables for the environment of each worker.

    Raises:
        ValueError: This machine has no such GPU, or a number is below 1; the message names the option.
    """
    if workers_per_gpu < 1:
        raise ValueError(f"--workers-per-gpu: got {workers_per_gpu}, expected at least 1")
    if gpus is None:
        if workers_per_gpu != 1:
            raise ValueError(f"--workers-per-gpu: got {workers_per_gpu} without --gpus, expected both")
        return []
    names = _visible_gpus() if gpus == ALL else _chosen_gpus(gpus)
    return [{VISIBLE: name} for name in names for _ in range(workers_per_gpu)]


def _visible_gpus() -> list[str]:
    if VISIBLE not in os.environ:
        return [gpu[0] for gpu in _listed_gpus()]
    names = [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    if not names:
        raise ValueError(f"--gpus: {VISIBLE} is empty, so this process sees no GPU; unset it, or leave the option out")
    return names


def _chosen_gpus(gpus: str) -> list[str]:
    names = [name.strip() for name in gpus.split(",")]
    listed = _listed_gpus()
    known = {name for gpu in listed for name in gpu}
    if not known.issuperset(names) or len(set(names)) < len(names):
        numbers = ", ".join(gpu[0] for gpu in listed)
        raise ValueError(f"--gpus: got {gpus!r}, expected {ALL}, or different ones of {numbers}; see `nvidia-smi -L`")
    return names


def _listed_gpus() -> list[tuple[str, ...]]:
    """Lists the names of each GPU: its number and its identifier, or the identifier of each part of a divided one.

    Raises:
        ValueError: There is no GPU.
    """
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        listed, why = "", f"`nvidia-smi -L`: {getattr(error, 'strerror', None) or error}"
    else:
        why = "`nvidia-smi -L` lists none"
    whole: list[tuple[str, ...]] = []
    parts: dict[int, list[tuple[str, ...]]] = {}
    for line in listed.splitlines():
        if gpu := re.match(r"GPU (\d+):.*\(UUID: (GPU-[^)]+)\)", line):
            whole.append((gpu[1], gpu[2]))
        elif part := re.search(r"\(UUID: (MIG-[^)]+)\)", line):
            parts.setdefault(len(whole) - 1, []).append((part[1],))
    if not whole:
        raise ValueError(
            f"--gpus: this machine has no GPU ({why}); leave the option out to search on the processors, or install "
            "NVIDIA's driver"
        )
    return [names for index, gpu in enumerate(whole) for names in parts.get(index, [gpu])]
