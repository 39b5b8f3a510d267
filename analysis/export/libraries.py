"""Libraries that only exports need."""

from __future__ import annotations

from importlib.util import find_spec


def require(package: str, extra: str) -> None:
    """Raises unless a package is installed.

    Args:
        package: Package of the library.
        extra: The project's extra that installs it.

    Raises:
        ValueError: It is not installed.
    """
    if find_spec(package) is None:
        raise ValueError(
            f"this export needs the package {package}, which is not installed; install the project with the extra "
            f"{extra}: pip install -e '.[{extra}]'"
        )
