"""Compares all optimizers in all search spaces on the digits, as the paper's Figure 2 does on CIFAR-10.

    python -m benchmarks.compare_optimizers DIRECTORY [--epochs 25] [--seeds 6] [--batch-size 16] [--processes 2]
        [--output TABLE.md]

Every search has its own folder under DIRECTORY.  The same command again reads finished searches and continues
interrupted ones.  The test error of a found cell comes from the embedded table, which holds space 1.  A cell of the
other spaces that the table lacks is measured in the same way, on demand, and kept.  Searches run in ``--processes``
processes of one thread each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median, stdev

from tqdm import tqdm

from nas.oneshot import METHODS, SearchResult, SearchSpec
from nas.oneshot.search import run_search
from nas.tabular import open_table
from nas.tabular.measured.on_demand import measuring
from spaces import SEARCH_SPACES


@dataclass(frozen=True)
class Outcome:
    """A search with the table's answer for the cell that it found.

    Attributes:
        spec: Specification of the search.
        search_s: Seconds of training and selection.
        one_shot_error: One-shot validation error after the last epoch, on the architecture's half of the images.
        test_error: Test error of the found cell trained by itself, mean over the repeats, at the largest budget.
    """

    spec: SearchSpec
    search_s: float
    one_shot_error: float
    test_error: float


def specifications(args: argparse.Namespace) -> Iterator[SearchSpec]:
    """Yields a search for every optimizer, space and seed; all searches of the first seed come first."""
    for seed in range(args.seeds):
        for space in args.spaces:
            for optimizer in args.optimizers:
                yield SearchSpec(
                    optimizer,
                    space,
                    epochs=args.epochs,
                    seed=seed,
                    init_channels=args.channels,
                    cells_per_stack=args.cells_per_stack,
                    batch_size=args.batch_size,
                    device="cpu",
                    threads=1,
                )


def folder(root: Path, spec: SearchSpec) -> Path:
    """Names the folder of a search."""
    return root / f"space_{spec.search_space}" / spec.optimizer / f"seed_{spec.seed}"


def search(spec: SearchSpec, root: Path) -> SearchResult:
    """Runs one search in its folder."""
    return run_search(spec, None, folder(root, spec))


def run(specs: Sequence[SearchSpec], root: Path, n_processes: int) -> Iterator[tuple[SearchSpec, SearchResult]]:
    """Runs the searches, and yields each as it ends.

    Raises:
        SystemExit: A search cannot run, or cannot go on in its folder.
    """
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(search, spec, root): spec for spec in specs}
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="search"):
            try:
                result = job.result()
            except (OSError, ValueError) as error:
                pool.shutdown(cancel_futures=True)
                raise SystemExit(f"{folder(root, jobs[job])}: {error}") from None
            yield jobs[job], result


def outcomes(finished: Sequence[tuple[SearchSpec, SearchResult]], table_name: str) -> Iterator[Outcome]:
    """Looks up the found cells and measures those that the table lacks; prints the searches that found none."""
    table = measuring(open_table(table_name))
    for spec, result in tqdm(finished, unit="cell"):
        if result.status != "ok" or result.architecture_index is None or result.one_shot_validation_error is None:
            print(f"{spec.optimizer}, space {spec.search_space}, seed {spec.seed}: {result.error}")
            continue
        space = SEARCH_SPACES[spec.search_space]
        entry = table.query(space.cell_of(result.architecture_index))
        yield Outcome(spec, result.search_s, result.one_shot_validation_error, entry.mean_test_error)


def markdown(results: Sequence[Outcome], args: argparse.Namespace) -> str:
    """Writes the table: one row per optimizer, one group of columns per space."""
    spaces = list(args.spaces)
    lines = [
        f"{args.epochs} epochs, {args.seeds} seeds, {3 * args.cells_per_stack} cells, {args.channels} channels"
        f"{f', batches of {args.batch_size}' if args.batch_size else ''}. "
        "Test error of the found cell (mean ± standard deviation over the seeds, percent), one-shot validation error "
        "at the end (mean, percent), seconds per search (median, one thread).",
        "",
        "| optimizer | " + " | ".join(f"space {s}: test error | one-shot | seconds" for s in spaces) + " |",
        "|---" * (1 + 3 * len(spaces)) + "|",
    ]
    for optimizer in args.optimizers:
        cells = []
        for space in spaces:
            group = [r for r in results if (r.spec.optimizer, r.spec.search_space) == (optimizer, space)]
            cells += [
                mean_and_spread([100 * r.test_error for r in group], args.seeds),
                f"{100 * fmean(r.one_shot_error for r in group):.0f}" if group else "-",
                f"{median(r.search_s for r in group):.0f}" if group else "-",
            ]
        lines.append(f"| {optimizer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def mean_and_spread(values: Sequence[float], expected: int) -> str:
    """Writes mean and standard deviation, with the number of values if fewer than expected are there."""
    if not values:
        return "-"
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{fmean(values):.2f}{spread}" + (f" (of {len(values)})" if len(values) < expected else "")


def main() -> None:
    """Parses the command line, runs the missing searches, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder of the searches")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--optimizers", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    parser.add_argument("--spaces", nargs="+", choices=sorted(SEARCH_SPACES), default=list(SEARCH_SPACES))
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells-per-stack", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="default: the optimizer's")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", default="digits")
    parser.add_argument("--output", type=Path, help="file for the table, which is printed in any case")
    args = parser.parse_args()
    try:
        specs = list(specifications(args))
    except ValueError as error:
        parser.error(str(error))
    finished = list(run(specs, args.directory, args.processes))  # all first: training a cell would disturb the searches
    results = list(outcomes(finished, args.table))
    text = markdown(results, args)
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
