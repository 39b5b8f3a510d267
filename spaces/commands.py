"""The command ``run_bohb.py spaces``."""

from dataclasses import dataclass

EXPLANATION = """
all choices: product of all choices of parents and operations; with loose ends: sum over connectivity
patterns of 3^(blocks with an outgoing edge); without: distinct pruned cells whose vertices keep their
numbers; without isomorphs: distinct NAS-Bench-101 hashes.  The paper's table mixes the first two."""


@dataclass(frozen=True)
class Spaces:
    """Count the search spaces by exhaustive enumeration, beside the numbers of the paper's Table 1."""

    def run(self) -> int:
        """Prints one line per space."""
        from spaces import SEARCH_SPACES
        from spaces.enumeration import count

        print(f"{'space':>5} {'all choices':>12} {'with loose ends':>22} {'without':>22} {'without isomorphs':>22}")
        for space in SEARCH_SPACES.values():
            counts = count(space)
            computed = (counts.with_loose_ends, counts.without_loose_ends, counts.without_isomorphs)
            paper = space.paper_counts or (None,) * 3
            cells = [
                f"{ours:,}" if theirs is None else f"{ours:,} (paper {theirs:,})"
                for ours, theirs in zip(computed, paper, strict=True)
            ]
            print(f"{space.name:>5} {counts.all_choices:>12,} " + " ".join(f"{cell:>22}" for cell in cells))
        print(EXPLANATION)
        return 0
