"""One-shot neural architecture search: one supernet, one loop, and a few lines for each optimizer."""

from importlib import import_module

from nas.oneshot.method import Method
from nas.oneshot.report import SearchResult
from nas.oneshot.spec import SearchSpec

#: Every one-shot optimizer by name; add one here and the command line, the tests and the docs know it.
METHODS: dict[str, type[Method]] = {
    "darts": import_module("nas.oneshot.darts").Darts,
    "darts_2nd": import_module("nas.oneshot.darts_2nd").DartsSecondOrder,
    "gdas": import_module("nas.oneshot.gdas").Gdas,
    "pc_darts": import_module("nas.oneshot.pc_darts").PcDarts,
    "enas": import_module("nas.oneshot.enas").Enas,
    "random_ws": import_module("nas.oneshot.random_ws").RandomWs,
}

from nas.oneshot.search import run_search  # noqa: E402  # it reads METHODS

__all__ = ["METHODS", "Method", "SearchResult", "SearchSpec", "run_search"]
