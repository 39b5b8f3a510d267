"""Threads in forked processes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import logging, multiprocessing, sys
import torch
from nas.oneshot import SearchSpec
from nas.oneshot.search import run_search

SPEC = dict(epochs=1, n_stacks=1, cells_per_stack=1, init_channels=16, batch_size=200, device="cpu")

def search(kernels):
    status = run_search(SearchSpec(threads=2, kernels=kernels, **SPEC)).status
    return status, torch.get_num_threads()

logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
print("parent", *search("auto"), *search("torch"))
with multiprocessing.get_context("fork").Pool(1) as pool:
    for kernels in ("auto", "torch"):
        print("child", *pool.apply(search, (kernels,)))
"""


def test_a_process_forked_after_a_search_with_threads_searches_with_one():
    run = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=120)
    said = run.stdout.splitlines()
    assert [line for line in said if line.startswith(("parent", "child"))] == ["parent ok 2 ok 2", *["child ok 1"] * 2]
    assert any("forked" in line and "threads=1" in line for line in said), run.stdout + run.stderr
