"""One-shot neural architecture search: one supernet, one loop, and a few lines for each optimizer."""

from nas.oneshot.darts import Darts
from nas.oneshot.method import Method
from nas.oneshot.report import EpochReport, SearchResult
from nas.oneshot.spec import SearchSpec

#: Every one-shot optimizer by name; add one here and the command line, the tests and the docs know it.
METHODS: dict[str, type[Method]] = {
    "darts": Darts,
}

from nas.oneshot.search import run_search  # noqa: E402  # it reads METHODS

__all__ = ["METHODS", "EpochReport", "Method", "SearchResult", "SearchSpec", "run_search"]
