"""Cells of NAS-Bench-101, the search spaces inside it, and the configuration spaces of the tuner."""

from spaces.cell import OPERATIONS, Cell, InvalidCellError
from spaces.config_spaces import CONFIG_SPACES, TunerSpace
from spaces.search_space import Architecture, SearchSpace

#: Every search space by name; add one here and the command line, the tests and the docs know it.
SEARCH_SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        SearchSpace("1", n_parents=(1, 2, 2, 2, 2), paper_counts=(6240, 3702, 2685)),
        SearchSpace("2", n_parents=(1, 1, 2, 2, 3), paper_counts=(29160, 12510, 7773)),
        SearchSpace("3", n_parents=(1, 1, 1, 2, 2, 2), paper_counts=(363648, 137406, 55854)),
    )
}


def find_config_space(name: str) -> TunerSpace:
    """Finds the configuration space called ``name``.

    Raises:
        ValueError: No configuration space has this name.
    """
    if name not in CONFIG_SPACES:
        raise ValueError(f"configuration space: got {name!r}, expected one of {', '.join(CONFIG_SPACES)}")
    return CONFIG_SPACES[name]


__all__ = [
    "CONFIG_SPACES",
    "OPERATIONS",
    "SEARCH_SPACES",
    "Architecture",
    "Cell",
    "InvalidCellError",
    "SearchSpace",
    "TunerSpace",
    "find_config_space",
]
