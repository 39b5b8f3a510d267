"""Times one search step of each optimizer and space against a plain reference and the public code.

    python -m benchmarks.oneshot [--public CLONE] [--optimizers darts gdas] [--spaces 3] [--threads 2]
    python -m benchmarks.oneshot --profile --optimizers darts --spaces 3
    python -m benchmarks.oneshot --evaluation
    python -m benchmarks.oneshot --kernels --optimizers darts gdas --spaces 1 3

A step is an architecture step, where the optimizer has one, and a weight step, on 32x32 images at batch 96 with 16
channels and 9 cells; ENAS's controller learns after an epoch, not here.  Each implementation has a process of its own,
and they take turns, so that whatever else the machine does disturbs them alike; the figures are medians of wall-clock
seconds and of processor seconds (which other processes disturb less), and the peak of resident memory.  ``--kernels``
compares the native kernels with PyTorch alone instead; ``--channels 8 --cells 1 --batch-size 32 --image-size 8
--threads 1`` is the network of ``run_bohb.py study``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from benchmarks import oneshot_public
from benchmarks.oneshot_reference import OPTIMIZERS, plain_step
from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.data import Half, SearchData
from nas.oneshot.loop import Search
from nas.oneshot.model.memory import keep_freed_memory
from nas.oneshot.model.native import calls
from nas.oneshot.resolve import choose_kernels, resolve
from spaces import SEARCH_SPACES
from spaces.enumeration import distinct_architectures

Kernels = Literal["auto", "native", "torch"]
#: Prefixes of PyTorch's operators and names of our kernels, by what they do; the first that fits counts.
KINDS = {
    "convolutions and products": (
        "aten::convolution_backward", "aten::mkldnn_convolution", "aten::mm", "aten::addmm",
        "kernel convolve", "kernel kernel_gradient", "kernel product",
    ),
    "batch normalisation, ReLU": (
        "aten::native_batch_norm", "aten::threshold_backward", "aten::clamp_min", "aten::relu",
        "kernel normaliser", "kernel parameter_gradients", "kernel input_gradient",
    ),
    "pooling": ("aten::max_pool2d", "kernel pool_and_sum", "kernel unpool"),
    "sums, products, copies": (
        "aten::add", "aten::mul", "aten::cat", "aten::copy_", "aten::dot", "aten::fill_", "kernel sum_terms",
        "kernel receive",
    ),
}  # fmt: skip


def random_data(n_images: int, size: int) -> SearchData:
    """Images [n_images, size, size, 3] in both halves."""

    def half() -> Half:
        images = torch.randint(256, (n_images, size, size, 3), dtype=torch.uint8)
        return Half(images, torch.randint(10, (n_images,)))

    return SearchData("random", half(), half(), 10, (0.5,) * 3, (0.25,) * 3, crop_padding=4, flip=True)


def our_search(optimizer: str, space: str, args: argparse.Namespace, kernels: Kernels = "auto") -> Search:
    spec = SearchSpec(
        optimizer,
        space,
        batch_size=args.batch_size,
        init_channels=args.channels,
        cells_per_stack=args.cells,
        device="cpu",
        kernels=kernels,
    )
    return Search(choose_kernels(resolve(spec)), random_data(args.batch_size, args.image_size))


def our_step(optimizer: str, space: str, args: argparse.Namespace, kernels: Kernels = "auto") -> Callable[[], None]:
    search = our_search(optimizer, space, args, kernels)
    (batch,) = search.weight_batches.one_pass(cutout_prob=0.0)
    (other,) = search.architecture_batches.one_pass(cutout_prob=0.0)

    def step() -> None:
        if search.method.architecture_steps:
            search.method.architecture_step(batch, other, search.weights)
        search.weights.step(batch, search.method.mixtures)

    return step


def build(who: str, optimizer: str, space: str, args: argparse.Namespace) -> Callable[[], None]:
    """The step of an implementation."""
    if who == "ours":
        return our_step(optimizer, space, args)
    if who == "native":
        return our_step(optimizer, space, args, "native")
    if who == "torch":
        return our_step(optimizer, space, args, "torch")
    if who == "plain":
        return plain_step(optimizer, SEARCH_SPACES[space], args.batch_size, args.channels)
    return oneshot_public.public_step(optimizer, space, args.batch_size, args.channels)


class Contender:
    """An implementation in a process of its own, which takes a step when told to."""

    def __init__(self, who: str, optimizer: str, space: str, args: argparse.Namespace) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.oneshot", "--serve", who]
        command += ["--optimizers", optimizer, "--spaces", space, "--threads", str(torch.get_num_threads())]
        command += ["--batch-size", str(args.batch_size), "--channels", str(args.channels)]
        command += ["--cells", str(args.cells), "--image-size", str(args.image_size)]
        command += ["--public", str(args.public)] if args.public else []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.steps: list[dict[str, float]] = []

    def step(self) -> None:
        """Takes a step and notes what it cost."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        self.steps.append(json.loads(self.process.stdout.readline()))

    def cost(self, what: str) -> float:
        """The median without the first step."""
        return median(step[what] for step in self.steps[1:])

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()


def serve(args: argparse.Namespace) -> None:
    """The other end of a ``Contender``."""
    if args.serve in ("ours", "native", "torch"):
        keep_freed_memory()
    step = build(args.serve, args.optimizers[0], args.spaces[0], args)
    for _ in sys.stdin:
        start, start_processor = time.perf_counter(), time.process_time()
        step()
        cost = {
            "wall s": time.perf_counter() - start,
            "processor s": time.process_time() - start_processor,
            "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(cost), flush=True)


def compare(args: argparse.Namespace) -> None:
    """A line for each optimizer, space and kind of cost."""
    references = ["plain", *(["public"] if args.public else [])]
    print(f"{torch.get_num_threads()} threads, batch {args.batch_size}, {args.repeats} repeats", flush=True)
    for optimizer in args.optimizers:
        for space in args.spaces:
            # Nothing of the references can be compared with the other optimizers.
            names = ["native", "torch"] if args.kernels else ["ours", *(references if optimizer in OPTIMIZERS else [])]
            contenders = {who: Contender(who, optimizer, space, args) for who in names}
            for _ in range(args.repeats + 1):
                for contender in contenders.values():
                    contender.step()
            for what in ("wall s", "processor s", "peak MB"):
                first = contenders[names[0]].cost(what)
                figures = "   ".join(
                    f"{who} {c.cost(what):.4g}"
                    + ("" if who == names[0] else f" ({names[0]}: {first / c.cost(what):.2f} of it)")
                    for who, c in contenders.items()
                )
                print(f"{optimizer:10} space {space} {what:12} {figures}", flush=True)
            for contender in contenders.values():
                contender.close()


def profile(args: argparse.Namespace) -> None:
    """Where the time of our step goes."""
    from torch.profiler import ProfilerActivity, record_function
    from torch.profiler import profile as torch_profile

    call = calls.call

    def recorded_call(name: str, *arguments: Any) -> None:
        with record_function(f"kernel {name}"):
            call(name, *arguments)

    calls.call = recorded_call
    for optimizer in args.optimizers:
        for space in args.spaces:
            step = our_step(optimizer, space, args)
            step()
            start = time.perf_counter()
            for _ in range(args.repeats):
                step()
            seconds = (time.perf_counter() - start) / args.repeats
            with torch_profile(activities=[ProfilerActivity.CPU]) as recorded:
                for _ in range(args.repeats):
                    step()
            events = recorded.key_averages()
            total = sum(event.self_cpu_time_total for event in events)
            print(f"{optimizer} space {space}: {seconds:.3f} s a step")
            shares = dict.fromkeys([*KINDS, "everything else"], 0.0)
            for event in events:
                kind = next((k for k, prefixes in KINDS.items() if event.key.startswith(prefixes)), "everything else")
                shares[kind] += event.self_cpu_time_total / total
            for kind, share in shares.items():
                print(f"  {kind:26} {share:6.1%}", flush=True)


def evaluation(args: argparse.Namespace) -> None:
    """Discrete architectures with shared weights, a second."""
    for space in args.spaces:
        search = our_search("random_ws", space, args)
        generator = torch.Generator().manual_seed(0)
        indices = torch.randint(search.space.size, (args.repeats * 10,), generator=generator).tolist()
        architectures = [search.space.decode(index) for index in indices]
        batches = search.evaluator.first_batches(1)
        search.evaluator.architecture_errors(architectures[:3], batches)
        start = time.perf_counter()
        search.evaluator.architecture_errors(architectures, batches)
        each = (time.perf_counter() - start) / len(architectures)
        n_cells = len(distinct_architectures(search.space))
        print(
            f"space {space}: {1e3 * each:.1f} ms an architecture on {sum(map(len, batches))} images; "
            f"all {n_cells} distinct labelled cells in {each * n_cells / 3600:.1f} h",
            flush=True,
        )


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--public", type=Path, help="a clone of github.com/automl/nasbench-1shot1")
    parser.add_argument("--optimizers", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    parser.add_argument("--spaces", nargs="+", choices=sorted(SEARCH_SPACES), default=list(SEARCH_SPACES))
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=3, help="cells per stack")
    parser.add_argument("--image-size", type=int, default=32, help="pixels per side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="default: PyTorch's choice")
    parser.add_argument("--profile", action="store_true", help="where the time of our step goes")
    parser.add_argument("--evaluation", action="store_true", help="evaluating discrete architectures")
    parser.add_argument("--kernels", action="store_true", help="the native kernels against PyTorch alone")
    parser.add_argument("--serve", choices=["ours", "plain", "public", "native", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.kernels and not args.serve and (args.cells, args.image_size) != (3, 32):
        parser.error("--cells and --image-size are for --kernels: the references have 9 cells on 32x32 images")
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.public:
        oneshot_public.load(args.public)
    torch.manual_seed(0)
    if args.serve:
        serve(args)
        return
    if not args.profile and not args.evaluation:
        compare(args)
        return
    keep_freed_memory()
    if args.profile:
        profile(args)
    if args.evaluation:
        evaluation(args)


if __name__ == "__main__":
    main()
