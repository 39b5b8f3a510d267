"""One-shot neural architecture search: one supernet, one loop, and a few lines for each optimizer.

A search is ``nas.oneshot.search.run_search(SearchSpec(...))``.  Nothing here loads PyTorch before a search does.
"""

from nas.oneshot.methods import METHODS
from nas.oneshot.report import SearchResult
from nas.oneshot.spec import SearchSpec

__all__ = ["METHODS", "SearchResult", "SearchSpec"]
