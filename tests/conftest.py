"""What all tests share."""

from __future__ import annotations

import os

import torch
from hypothesis import settings

# One thread a process, also in the processes that tests start: the images are tiny, results then do not depend
# on the number of processors, and threads that wait for each other on a busy machine would take most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Triton's programs run in its interpreter, which they must know when they are loaded; without a GPU nothing else would.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The same examples in every run: what a new one finds belongs into a test of its own.
settings.register_profile("same examples", derandomize=True)
settings.load_profile("same examples")
