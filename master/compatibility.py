"""Whether configurations of another run or log belong to a configuration space."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results.records import Value
from spaces import TunerSpace

#: Parts of a hyperparameter that say nothing about its values.
_IRRELEVANT = frozenset({"default_value", "meta"})


def check_same_space(file: Path, space: TunerSpace, where: str) -> None:
    """Compares the hyperparameters by name, kind, bounds and scale; names of spaces and defaults do not matter.

    Args:
        file: ``configspace.json``, of any version of ConfigSpace that the installed one reads.
        space: The space that is expected.
        where: Name of the source, for the message.

    Raises:
        ValueError: The file is damaged, or the hyperparameters differ.
        OSError: The file cannot be read.
    """
    from ConfigSpace import ConfigurationSpace

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about fields of older versions
            got = _hyperparameters(ConfigurationSpace.from_serialized_dict(json.loads(file.read_text())))
    except OSError:
        raise
    except Exception as error:  # whatever another version, or another program, has written there
        raise ValueError(f"{file}: this is no configuration space ({type(error).__name__}: {error})") from error
    expected = _hyperparameters(space.build(seed=0))
    if got != expected:
        differing = sorted(name for name in {*got, *expected} if got.get(name) != expected.get(name))
        raise ValueError(
            f"{where}: got other hyperparameters than those of configuration space {space.name}: "
            f"{', '.join(differing)}; choose the same configuration space"
        )


def checked_config(config: Mapping[str, Value], space: TunerSpace, where: str) -> dict[str, Value]:
    """Returns a whole configuration of a space, each value in its hyperparameter's type.

    Raises:
        ValueError: A hyperparameter is missing or unknown, or its value lies outside the bounds.
    """
    missing = [name for name in space.names if name not in config]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} of configuration space {space.name} is missing")
    try:
        return space.complete(config)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _hyperparameters(space: Any) -> dict[str, dict[str, Any]]:
    """Name to all that decides the values; conditions and clauses do not occur in a ``TunerSpace``."""
    content = space.to_serialized_dict()
    found = {h["name"]: {k: v for k, v in h.items() if k not in _IRRELEVANT} for h in content["hyperparameters"]}
    restrictions = {name: content[name] for name in ("conditions", "forbiddens") if content[name]}
    return found | restrictions
