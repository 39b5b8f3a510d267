"""The folder for files that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Finds the cache folder: ``$NASBOHB_CACHE``, or else ``nasbohb`` in the user's cache folder.

    An empty variable counts as missing.  A relative path counts from the working directory.

    Returns:
        An absolute path; the folder may not exist.
    """
    own = os.environ.get("NASBOHB_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    of_user = os.environ.get("XDG_CACHE_HOME")
    return (Path(of_user) if of_user else Path.home() / ".cache").absolute() / "nasbohb"
