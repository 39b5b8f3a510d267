"""Varies one hyperparameter of the one-shot searches, as the paper does with L2 regularisation and cutout.

    python -m benchmarks.sweep DIRECTORY [--vary weight_decay 1e-4 3e-4 9e-4 27e-4 81e-4] [--optimizers darts gdas]
        [--space 1] [--epochs 25] [--seeds 6] [--processes 2] [--output TABLE.md]
    python -m benchmarks.sweep DIRECTORY --vary cutout_prob 0 0.2 0.4 0.6 0.8 1

Every search has its own folder under DIRECTORY.  The same command again reads finished searches and continues
interrupted ones.  The test error of a found cell comes from the table.  A cell that the table lacks is measured in
the same way, and kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare_optimizers import Outcome, mean_and_spread, outcomes, run
from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.commands import parse_settings
from spaces import SEARCH_SPACES

#: Field and values of the paper's study of L2 regularisation.
DEFAULT = ("weight_decay", "1e-4", "3e-4", "9e-4", "27e-4", "81e-4")


def specifications(args: argparse.Namespace, setting: str) -> list[SearchSpec]:
    """Lists the searches of every optimizer and seed at one setting, ``name=value``."""
    return [
        SearchSpec(
            optimizer,
            args.space,
            epochs=args.epochs,
            seed=seed,
            device="cpu",
            threads=1,
            **parse_settings([setting]),
        )
        for seed in range(args.seeds)
        for optimizer in args.optimizers
    ]


def markdown(results: dict[str, Sequence[Outcome]], args: argparse.Namespace) -> str:
    """Writes the table: one row per optimizer, one column per setting."""
    lines = [
        f"{args.epochs} epochs, {args.seeds} seeds, space {args.space}. Test error of the found cell (mean ± standard "
        "deviation over the seeds, percent).",
        "",
        "| optimizer | " + " | ".join(results) + " |",
        "|---" * (1 + len(results)) + "|",
    ]
    for optimizer in args.optimizers:
        groups = [[r for r in group if r.spec.optimizer == optimizer] for group in results.values()]
        cells = [mean_and_spread([100 * r.test_error for r in group], args.seeds) for group in groups]
        lines.append(f"| {optimizer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses the command line, runs the missing searches, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder of the searches")
    parser.add_argument(
        "--vary", nargs="+", default=DEFAULT, metavar=("FIELD", "VALUE"), help="a field of a search, and its values"
    )
    parser.add_argument("--optimizers", nargs="+", choices=sorted(METHODS), default=["darts", "gdas", "pc_darts"])
    parser.add_argument("--space", choices=sorted(SEARCH_SPACES), default="1")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", default="digits")
    parser.add_argument("--output", type=Path, help="file for the table, which is printed in any case")
    args = parser.parse_args()
    field, *values = args.vary
    if not values:
        parser.error(f"--vary: got {field!r} alone, expected its values behind it")
    try:
        specs = {f"{field}={value}": specifications(args, f"{field}={value}") for value in values}
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    finished = {setting: list(run(specs[setting], args.directory / setting, args.processes)) for setting in specs}
    text = markdown({s: list(outcomes(searches, args.table)) for s, searches in finished.items()}, args)
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
