"""What all tests share."""

from __future__ import annotations

import os

# One thread a process, also in the processes that tests start: the images are tiny, results then do not depend
# on the number of processors, and threads that wait for each other on a busy machine would take most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
