"""One-shot neural architecture search: one supernet, one loop, and a few lines for each optimizer."""

from nas.oneshot.darts import Darts
from nas.oneshot.darts_2nd import DartsSecondOrder
from nas.oneshot.enas import Enas
from nas.oneshot.gdas import Gdas
from nas.oneshot.method import Method
from nas.oneshot.pc_darts import PcDarts
from nas.oneshot.random_ws import RandomWs
from nas.oneshot.report import EpochReport, SearchResult
from nas.oneshot.spec import SearchSpec

#: Every one-shot optimizer by name; add one here and the command line, the tests and the docs know it.
METHODS: dict[str, type[Method]] = {
    "darts": Darts,
    "darts_2nd": DartsSecondOrder,
    "gdas": Gdas,
    "pc_darts": PcDarts,
    "enas": Enas,
    "random_ws": RandomWs,
}

from nas.oneshot.search import run_search  # noqa: E402  # it reads METHODS

__all__ = ["METHODS", "EpochReport", "Method", "SearchResult", "SearchSpec", "run_search"]
