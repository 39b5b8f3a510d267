"""How each optimizer's one-shot validation error falls over the epochs: the dashed lines of the paper's Figure 2.

    python -m benchmarks.oneshot_curves DIRECTORY --dataset cifar10 --data-dir FOLDER [--space 3] [--epochs 12]
        [--channels 16] [--cells-per-stack 1] [--processes 2] [--output TABLE.md]

Every search has its own folder under DIRECTORY; called again, finished searches are read and interrupted ones go on.
No table is needed: nothing but the shared weights is looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare_optimizers import folder, run
from nas.datasets import DATASETS
from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.checkpoint import read_checkpoint
from nas.oneshot.data import load_data
from results.epoch import EpochRecord
from spaces import SEARCH_SPACES


def specifications(args: argparse.Namespace) -> list[SearchSpec]:
    """A search for each optimizer."""
    return [
        SearchSpec(
            optimizer,
            args.space,
            dataset=args.dataset,
            data_dir=args.data_dir,
            epochs=args.epochs,
            seed=args.seed,
            init_channels=args.channels,
            cells_per_stack=args.cells_per_stack,
            device="cpu",
            threads=1,
        )
        for optimizer in args.optimizers
    ]


def reports(directory: Path) -> list[EpochRecord]:
    """Reports of the epochs that a search has completed."""
    state = read_checkpoint(directory)
    return [EpochRecord.from_dict(report, "reports") for report in state["reports"]] if state else []


def markdown(specs: Sequence[SearchSpec], root: Path, columns: Sequence[int]) -> str:
    """The table, a row an optimizer, a column an epoch."""
    data = load_data(specs[0])
    lines = [
        f"{specs[0].dataset}, {len(data.weights)} images for the weights and {len(data.architecture)} for the "
        f"architecture, space {specs[0].search_space}, {3 * specs[0].cells_per_stack} cells, {specs[0].init_channels} "
        f"channels, {specs[0].epochs} epochs. One-shot validation error, percent; seconds of the search (one thread).",
        "",
        "| optimizer | " + " | ".join(f"epoch {epoch}" for epoch in columns) + " | seconds |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for spec in specs:
        by_epoch = {report.epoch: report for report in reports(folder(root, spec))}
        cells = [f"{100 * by_epoch[e].one_shot_validation_error:.1f}" if e in by_epoch else "-" for e in columns]
        seconds = f"{by_epoch[max(by_epoch)].search_s:.0f}" if by_epoch else "-"
        lines.append(f"| {spec.optimizer} | " + " | ".join([*cells, seconds]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses the command line, runs what is missing, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the searches are kept")
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="cifar10")
    parser.add_argument("--data-dir", help="the folder that holds the data set")
    parser.add_argument("--optimizers", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    parser.add_argument("--space", choices=sorted(SEARCH_SPACES), default="3")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells-per-stack", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, help="write the table there too")
    args = parser.parse_args()
    try:
        specs = specifications(args)
    except ValueError as error:
        parser.error(str(error))
    for spec, result in run(specs, args.directory, args.processes):
        if result.status != "ok":
            print(f"{spec.optimizer}: {result.error}")
    steps = range(1, args.epochs + 1) if args.epochs <= 6 else [1, *range(2, args.epochs, 2), args.epochs]
    text = markdown(specs, args.directory, list(steps))
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
