"""Where things are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$NASBOHB_CACHE``, else ``nasbohb`` in the user's cache folder; an absolute path, whether it exists or not.

    An empty variable is none; a relative path counts from the working directory.
    """
    own = os.environ.get("NASBOHB_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    of_user = os.environ.get("XDG_CACHE_HOME")
    return (Path(of_user) if of_user else Path.home() / ".cache").absolute() / "nasbohb"
