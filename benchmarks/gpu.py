"""One-shot search on a GPU: does it agree with the CPU, how long is a step, how many searches fit, what do they find?

    python -m benchmarks.gpu --out gpu.json [--public CLONE] [--data FOLDER] [--only steps ...] [--optimizers darts ...]

It needs a CUDA device and what a search needs.  FOLDER has ``cifar-10-batches-py``.  Parts:

agreement  6 optimizers in a small network: logits, gradients and weights after 20 steps, GPU against CPU in float32,
           and captured in a CUDA graph against eager.
steps      seconds per step (architecture and weights) of 6 optimizers in 3 search spaces, at batch 96 with 16 channels
           and 9 cells on 32x32 images, captured in TF32, beside the public code's (which rounds so, too), with the peak
           of memory; in space 3 also in float32, captured and eager.
busy       the share of the time in which the GPU computes, and its largest kernels.
precision  captured steps of three optimizers in float32, TF32 and bfloat16, with our kernels and with PyTorch's.
several    1, 2, 4 and 8 searches of DARTS at once, in TF32: as threads with a stream each, and as processes.
search     25 epochs of DARTS, GDAS and PC-DARTS on CIFAR-10 in FOLDER, with the cell of every epoch.

Everything goes into one JSON file, so that runs on other cards can be laid beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import oneshot_public
from benchmarks.oneshot import random_data
from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.loop import Search
from nas.oneshot.resolve import choose_kernels, resolve
from nas.oneshot.search import run_search
from spaces import SEARCH_SPACES

GPU = "cuda"
#: The search space with the most blocks.
LARGEST = "3"
#: Optimizers of the public code that it can be compared with.
PUBLIC = ("darts", "gdas", "pc_darts")
#: A network that the CPU can follow.
SMALL = {"n_stacks": 2, "cells_per_stack": 1, "init_channels": 8, "batch_size": 32}
#: Steps in an epoch of the paper's searches: 20,000 images in batches of 96; epochs of its study.
STEPS_PER_EPOCH, STUDY_EPOCHS = 208, 17_100


def search_of(optimizer: str, space: str, n_steps: int, device: str = GPU, **fields: Any) -> Search:
    """A search on random images whose epoch has ``n_steps`` steps."""
    spec = SearchSpec(optimizer, space, **{"batch_size": 96, "device": device, "epochs": 3, **fields})
    settings = choose_kernels(resolve(spec))
    torch.manual_seed(0)
    data = random_data(n_steps * settings.batch_size, 32)
    return Search(settings, data)


# --- agreement


def difference(ours: Sequence[torch.Tensor], reference: Sequence[torch.Tensor]) -> float:
    """The norm of the difference over that of the reference."""
    a, b = (torch.cat([t.detach().cpu().double().flatten() for t in tensors]) for tensors in (ours, reference))
    return float((a - b).norm() / b.norm())


def first_gradients(search: Search) -> list[list[torch.Tensor]]:
    """Logits of a batch, and the gradients of its loss by the weights and the architecture."""
    batch = next(search.weight_batches.one_pass(0.0))
    method, net = search.method, search.supernet
    with method.drawn_ahead(1):
        logits = net(batch.images, method.mixtures())
    asked = list(net.parameters())
    gradients = torch.autograd.grad(
        torch.nn.functional.cross_entropy(logits, batch.labels), asked, allow_unused=True, materialize_grads=True
    )
    return [[logits.detach()], list(gradients)]  # a graph that lives on would tie the capture to this stream


def agreement(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A line per optimizer: relative differences, and whether captured equals eager to the last bit."""
    lines = []
    for optimizer in args.optimizers:
        searches = {
            name: search_of(optimizer, "3", 20, device, **SMALL, **more)
            for name, device, more in (
                ("cpu", "cpu", {"kernels": "torch"}),
                ("eager", GPU, {"graph": "off"}),
                ("captured", GPU, {"graph": "on"}),
                ("again", GPU, {"graph": "off"}),
            )
        }
        first = {name: first_gradients(search) for name, search in searches.items()}
        losses = {name: search.steps.run_epoch(0.5, warming_up=False) for name, search in searches.items()}
        weights = {name: list(search.supernet.parameters()) for name, search in searches.items()}
        lines.append(
            {
                "optimizer": optimizer,
                "logits": difference(first["eager"][0], first["cpu"][0]),
                "gradients": difference(first["eager"][1], first["cpu"][1]),
                "weights after 20 steps": difference(weights["eager"], weights["cpu"]),
                "captured against eager": difference(weights["captured"], weights["eager"]),
                "eager again": difference(weights["again"], weights["eager"]),
                "losses": losses,
            }
        )
        print(json.dumps(lines[-1]), flush=True)
    return lines


# --- steps


def seconds_per_step(search: Search) -> float:
    """The median over three epochs, behind one in which the step is captured."""
    n = len(search.weight_batches)
    times = []
    for _ in range(4):
        torch.cuda.synchronize()
        start = time.perf_counter()
        search.steps.run_epoch(0.5, warming_up=False)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / n)
    return median(times[1:])


def measured(build: Callable[[], Search], **what: Any) -> dict[str, Any]:
    """Seconds per step, peak of memory and the time that the start took."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    search = build()
    line = {**what, "s": seconds_per_step(search), "peak MB": torch.cuda.max_memory_allocated() / 2**20}
    line["all s"] = time.perf_counter() - start
    print(json.dumps(line), flush=True)
    return line


def public_seconds(optimizer: str, space: str) -> float:
    step = oneshot_public.public_step(optimizer, space, 96, 16, GPU)
    times = []
    for _ in range(8):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[3:])


def steps(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A line per optimizer, space and way."""
    lines = []
    for optimizer in args.optimizers:
        for space in args.spaces:
            slower = [("on", "float32", 20), ("off", "float32", 4)] if space == LARGEST else []
            for graph, how, n in [("on", "tf32", 20), *slower]:
                fields = {"graph": graph, "precision": how}
                build = partial(search_of, optimizer, space, n, **fields)
                lines.append(measured(build, optimizer=optimizer, space=space, **fields))
            if args.public and optimizer in PUBLIC:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                # PyTorch's defaults, with which the public code runs.
                torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = True, False
                line = {"optimizer": optimizer, "space": space, "public": True, "s": public_seconds(optimizer, space)}
                line["peak MB"] = torch.cuda.max_memory_allocated() / 2**20
                print(json.dumps(line), flush=True)
                lines.append(line)
    return lines


def precision(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A line per way to compute captured steps in space 3."""
    ways: list[dict[str, Any]] = [
        {"precision": how, "kernels": kernels}
        for how in ("float32", "tf32", "bf16")
        for kernels in ("native", "torch")
        if (how, kernels) != ("bf16", "native")
    ]
    lines = []
    for optimizer in args.optimizers:
        if optimizer not in PUBLIC:
            continue
        for fields in ways:
            for chosen in (False, True):
                torch.backends.cudnn.benchmark = chosen
                build = partial(search_of, optimizer, "3", 30, **fields)
                lines.append(measured(build, optimizer=optimizer, benchmark=chosen, **fields))
            torch.backends.cudnn.benchmark = False
    return lines


def busy_share(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The share of the time of captured steps in which a kernel runs, by the profiler."""
    from torch.profiler import ProfilerActivity, profile

    lines = []
    for graph, how in (("on", "tf32"), ("on", "float32"), ("off", "float32")):
        search = search_of("darts", "3", 8, graph=graph, precision=how)
        search.steps.run_epoch(0.5, warming_up=False)
        with profile(activities=[ProfilerActivity.CUDA]) as recorded:
            search.steps.run_epoch(0.5, warming_up=False)
            torch.cuda.synchronize()
        kernels = [e for e in recorded.events() if e.device_type.name == "CUDA"]
        busy = sum(e.time_range.elapsed_us() for e in kernels)
        wall = max(e.time_range.end for e in kernels) - min(e.time_range.start for e in kernels)
        by_name = sorted(recorded.key_averages(), key=lambda e: -e.self_device_time_total)[:25]
        line = {
            "graph": graph,
            "precision": how,
            "busy share": busy / wall,
            "kernels per step": len(kernels) / 8,
            "busy ms per step": busy / 8e3,
            "kernels": [[e.key[:90], e.count / 8, e.self_device_time_total / 8e3] for e in by_name],
        }
        print(json.dumps(line), flush=True)
        lines.append(line)
    return lines


# --- several searches at once


def _worker(barrier: Barrier, seconds: float, queue: Any) -> None:
    search = search_of("darts", "3", 20, precision="tf32")
    search.steps.run_epoch(0.5, warming_up=False)
    torch.cuda.synchronize()
    barrier.wait(120)
    queue.put(_steps_per_second(search, seconds))


def _steps_per_second(search: Search, seconds: float) -> float:
    """Whole epochs over at least some seconds."""
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        search.steps.run_epoch(0.5, warming_up=False)
        n += len(search.weight_batches)
    return n / (time.perf_counter() - start)


def processes_at_once(k: int, seconds: float) -> float:
    """Steps per second of k processes together."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(k), context.Queue()
    running = [context.Process(target=_worker, args=(barrier, seconds, queue), daemon=True) for _ in range(k)]
    for process in running:
        process.start()
    total = sum(queue.get(timeout=180) for _ in running)
    for process in running:
        process.join()
    return float(total)


def threads_at_once(k: int, seconds: float) -> float:
    """Steps per second of k threads with a stream each, together."""
    searches = [search_of("darts", "3", 20, precision="tf32", seed=seed) for seed in range(k)]
    for search in searches:
        search.steps.run_epoch(0.5, warming_up=False)
    torch.cuda.synchronize()
    rates = [0.0] * k

    def run(i: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            rates[i] = _steps_per_second(searches[i], seconds)

    running = [threading.Thread(target=run, args=(i,)) for i in range(k)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(rates)


def several(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Steps per second, and hours of the paper's study, of k searches at once."""
    lines = []
    for how, at_once in (("threads", threads_at_once), ("processes", processes_at_once)):
        for k in args.at_once:
            rate = at_once(k, 2.0)
            line = {"how": how, "k": k, "steps/s": rate, "study h": STUDY_EPOCHS * STEPS_PER_EPOCH / rate / 3600}
            print(json.dumps(line), flush=True)
            lines.append(line)
    return lines


# --- real searches


def real_search(optimizer: str, folder: str, epochs: int, out: Path, queue: Any) -> None:
    spec = SearchSpec(optimizer, "3", "cifar10", folder, epochs=epochs, device=GPU, threads=4, precision="tf32")
    records, start = [], time.perf_counter()

    def keep(record: Any) -> None:
        records.append({**record.to_dict(), "wall_s": time.perf_counter() - start})

    result = run_search(spec, directory=out / optimizer, on_epoch=keep)
    queue.put({"optimizer": optimizer, "spec": asdict(spec), "result": result.to_dict(), "epochs": records})


def search(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The searches, all at once in a process each; they lie beside the JSON file, and go on where they stopped."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    running = [
        context.Process(target=real_search, args=(optimizer, args.data, args.epochs, args.out.with_suffix(""), queue))
        for optimizer in PUBLIC
    ]
    for process in running:
        process.start()
    found = [queue.get(timeout=400) for _ in running]
    for line in found:
        print(line["optimizer"], line["result"], [round(e["wall_s"], 1) for e in line["epochs"]], flush=True)
    return found


PARTS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "agreement": agreement,
    "steps": steps,
    "busy": busy_share,
    "precision": precision,
    "several": several,
    "search": search,
}


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file with all figures")
    parser.add_argument("--public", type=Path, help="a clone of github.com/automl/nasbench-1shot1")
    parser.add_argument("--data", help="folder with cifar-10-batches-py; without it, no real search")
    parser.add_argument("--epochs", type=int, default=25, help="epochs of the real searches")
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 2, 4, 8], help="searches at once")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--optimizers", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--spaces", nargs="+", choices=list(SEARCH_SPACES), default=list(SEARCH_SPACES))
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA device here")
    if args.public:
        oneshot_public.load(args.public, on_gpu=True)
    figures: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    for name in args.only:
        if name == "search" and not args.data:
            continue
        print(f"# {name}", flush=True)
        start = time.perf_counter()
        try:
            figures[name] = PARTS[name](args)
        except Exception:  # one part that fails leaves the others their time
            figures[f"{name} failed"] = traceback.format_exc()
            print(figures[f"{name} failed"], flush=True)
        figures[f"{name} s"] = time.perf_counter() - start
        args.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{figures['device']}, PyTorch {figures['torch']}: {args.out}")


if __name__ == "__main__":
    main()
