"""Where things are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$NASBOHB_CACHE``, else ``nasbohb`` in the user's cache folder."""
    if "NASBOHB_CACHE" in os.environ:
        return Path(os.environ["NASBOHB_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nasbohb"
