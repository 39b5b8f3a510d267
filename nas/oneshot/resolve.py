"""From a specification to the settings of a search on this machine: checks, the optimizer's defaults, the kernels."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import Any

import torch

from nas.oneshot.methods import METHODS
from nas.oneshot.model import gpu, native
from nas.oneshot.spec import OPEN_FIELDS, SearchSpec, Settings
from spaces import SEARCH_SPACES, TunerSpace

logger = logging.getLogger("nasbohb.search")


def resolve(spec: SearchSpec) -> Settings:
    """Fills the open fields of a specification with the optimizer's defaults.

    Raises:
        ValueError: The optimizer, the search space or the device is unknown here.  The optimizer does not use a field
            that is set, cannot be compiled, or needs other channels.  The warm start leaves no epoch, or the optimizer
            updates nothing after it.  Native kernels are asked for where they never apply.
    """
    check_optimizer(spec.optimizer)
    if spec.search_space not in SEARCH_SPACES:
        raise ValueError(f"search_space: got {spec.search_space!r}, expected one of {sorted(SEARCH_SPACES)}")
    check_device(spec.device)
    if device_of(spec).type != "cuda":
        for name, value in (("graph", "on"), ("precision", "tf32")):
            if getattr(spec, name) == value:
                raise ValueError(
                    f"{name}: got {value!r}, which is for a GPU, and this search is on {device_of(spec)}; "
                    f"choose another {name}, or device 'cuda'"
                )
    method = METHODS[spec.optimizer]
    for name in sorted(OPEN_FIELDS - method.uses):
        if getattr(spec, name) is not None:
            raise ValueError(
                f"{name}: got {getattr(spec, name)!r}, but {spec.optimizer!r} does not use it; leave it out, or take "
                "a configuration space that does not tune it"
            )
    # On a GPU every step has the same operations; but samplers rank single architectures, each with its own.
    same_operations = device_of(spec).type == "cuda" and method.architecture_steps
    if spec.compile and method.changing_operations and not same_operations:
        raise ValueError(
            f"compile: got True for {spec.optimizer!r}, which computes other operations in every step; leave it off"
        )
    if spec.init_channels % method.channel_groups:
        raise ValueError(
            f"init_channels: got {spec.init_channels}, expected a multiple of {method.channel_groups} for "
            f"{spec.optimizer!r}, which mixes one of {method.channel_groups} parts"
        )
    if spec.warm_start_epochs and not method.updates_architecture:
        raise ValueError(
            f"warm_start_epochs: got {spec.warm_start_epochs}, but {spec.optimizer!r} updates nothing but the weights; "
            "leave it out"
        )
    if spec.warm_start_epochs >= spec.epochs:
        raise ValueError(
            f"warm_start_epochs: got {spec.warm_start_epochs}, expected fewer than the {spec.epochs} epochs, "
            "or the architecture is never updated"
        )
    if spec.kernels == "native" and (spec.precision == "bf16" or spec.compile):
        raise ValueError(
            f"kernels: got 'native' with precision {spec.precision!r} and compile {spec.compile}, but they are for "
            "float32 or tf32 and no compilation of the supernet; choose 'auto' or 'torch'"
        )
    given = {f.name: getattr(spec, f.name) for f in fields(SearchSpec)}
    return Settings(**given | {name: method.defaults[name] for name in OPEN_FIELDS if given[name] is None})


def relocate(settings: Settings, **placement: Any) -> Settings:
    """The settings of a search that was resolved elsewhere, for this machine.

    Args:
        settings: The search.
        placement: Fields in ``PLACEMENT_FIELDS`` and their values here; the kernels are chosen anew by default.

    Raises:
        ValueError: The search's optimizer or the device is not here.
    """
    check_optimizer(settings.optimizer)
    here = replace(settings, **{"kernels": "auto", **placement})
    check_device(here.device)
    return choose_kernels(here)


def default_configuration(optimizer: str, space: TunerSpace) -> dict[str, float | int]:
    """The configuration with which a study of an optimizer starts: its own defaults, where they lie in the space.

    Args:
        optimizer: Key of ``METHODS``.
        space: Configuration space of the study; its defaults (DARTS's) stand for what lies outside of it, such as the
            gradient's norm of ENAS, 0.25, where cs3 has integers from 1 on.

    Raises:
        ValueError: The optimizer is unknown, or a hyperparameter is no field of ``SearchSpec``.
    """
    check_optimizer(optimizer)
    own = SearchSpec(optimizer).to_dict() | METHODS[optimizer].defaults
    unknown = sorted(set(space.names) - set(own))
    if unknown:
        raise ValueError(f"configuration space {space.name}: got {unknown}, expected fields of a search specification")
    configuration = {}
    for h in space.hyperparameters:
        value = own[h.name]
        fits = h.lower <= value <= h.upper and (not h.is_integer or value == int(value))
        configuration[h.name] = type(h.default)(value) if fits else h.default
    return configuration


def choose_kernels(settings: Settings) -> Settings:
    """The settings with the kernels that this machine will use, ``native`` or ``torch``.

    Raises:
        ValueError: Native kernels are asked for where they do not apply or cannot be compiled.
    """
    if settings.kernels == "torch":
        return settings
    missing = _why_no_kernels(settings)
    if missing is None:
        return replace(settings, kernels="native")
    if settings.kernels == "native":
        raise ValueError(f"kernels: got 'native', but {missing}; choose 'auto' or 'torch'")
    if settings.precision != "bf16" and not settings.compile:
        logger.warning("PyTorch computes the cells, more slowly: %s", missing)
    return replace(settings, kernels="torch")


def _why_no_kernels(settings: Settings) -> str | None:
    """The reason why there are no kernels for a search; None if there are."""
    if settings.precision == "bf16" or settings.compile:
        return "they are for float32 and no compilation of the supernet"
    device = device_of(settings).type
    if device == "cpu":
        return native.why_unavailable()
    if device == "cuda":
        groups = METHODS[settings.optimizer].channel_groups
        return gpu.why_unavailable() or gpu.why_not_for(settings.init_channels, groups, settings.n_stacks)
    return f"there are none for {device}"


def device_of(settings: SearchSpec) -> torch.device:
    """The device on which a search computes."""
    if settings.device != "auto":
        return torch.device(settings.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def captures(settings: SearchSpec) -> bool:
    """Whether a search captures its steps in a CUDA graph."""
    return settings.graph != "off" and device_of(settings).type == "cuda"


def check_optimizer(name: str) -> None:
    """Raises ``ValueError`` for an unknown optimizer."""
    if name not in METHODS:
        raise ValueError(f"optimizer: got {name!r}, expected one of {sorted(METHODS)}")


def check_device(name: str) -> None:
    """Raises ``ValueError`` unless this machine can compute there; ``auto`` always can."""
    if name == "auto":
        return
    try:
        torch.zeros(1, device=name).item()  # the "meta" device holds nothing
    except (RuntimeError, AssertionError) as error:  # PyTorch without CUDA asserts
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device: got {name!r}, expected 'cpu', 'auto' or a device of this machine ({reason}); choose another"
        ) from None
