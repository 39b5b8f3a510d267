"""How a GPU rounds, for the whole process."""

from __future__ import annotations

import torch


def allow_tf32(allowed: bool) -> None:
    """Sets whether this process's products on a GPU may round float32 to 10 bits after the point (TF32).

    Its convolutions give the same results in every run, from here on.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.deterministic = True
