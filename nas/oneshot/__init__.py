"""One-shot neural architecture search: one supernet, one loop, and a few lines for each optimizer."""

from importlib import import_module

from nas.oneshot.method import Method
from nas.oneshot.report import EpochReport, SearchResult
from nas.oneshot.spec import SearchSpec


def optimizer(module: str, name: str) -> type[Method]:
    """The optimizer of that name in a file of this folder."""
    found: type[Method] = getattr(import_module(f"{__name__}.{module}"), name)
    return found


#: Every one-shot optimizer by name; add one here and the command line, the tests and the docs know it.
METHODS: dict[str, type[Method]] = {
    "darts": optimizer("darts", "Darts"),
    "darts_2nd": optimizer("darts_2nd", "DartsSecondOrder"),
    "gdas": optimizer("gdas", "Gdas"),
    "pc_darts": optimizer("pc_darts", "PcDarts"),
    "enas": optimizer("enas", "Enas"),
    "random_ws": optimizer("random_ws", "RandomWs"),
}

from nas.oneshot.search import run_search  # noqa: E402  # it reads METHODS

__all__ = ["METHODS", "EpochReport", "Method", "SearchResult", "SearchSpec", "run_search"]
