"""Each hyperparameter of a configuration space changes what the trainer uses (traps 1 and 2 of the public code)."""

from pathlib import Path

import pytest
import torch

from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.methods.enas import Enas
from nas.oneshot.resolve import default_configuration, resolve
from spaces import CONFIG_SPACES, TunerSpace
from spaces.config_spaces import Hyperparameter
from tests.nas.oneshot.searches import PAPERS

#: Another value than the default for every hyperparameter of CS3, the largest configuration space.
CHANGES = {
    "weight_decay": 1e-2,
    "cutout_prob": 1.0,
    "learning_rate": 0.1,
    "momentum": 0.0,
    "cutout_length": 32,
    "batch_size": 8,
    "grad_clip": 0.01,
    "arch_learning_rate": 0.1,
    "arch_weight_decay": 10.0,
}


def final_state(search):
    """All that the search has learned: weights, architecture weights, the controller of ENAS."""
    for epoch in range(search.settings.epochs):
        search.run_epoch(epoch)
    controller = search.method.controller.parameters() if isinstance(search.method, Enas) else ()
    learned = [*search.supernet.parameters(), *controller]
    return torch.cat([p.detach().flatten() for p in learned])


def test_every_hyperparameter_of_every_configuration_space_is_tried():
    assert {h.name for space in CONFIG_SPACES.values() for h in space.hyperparameters} == set(CHANGES)


@pytest.mark.parametrize("name", list(CHANGES))
@pytest.mark.parametrize("optimizer", list(METHODS))
def test_changes_what_is_learned_or_is_refused(optimizer, name, tiny_search):
    # Cutout is on (in the last epoch) when its length is what changes.
    base = {"optimizer": optimizer, "epochs": 2, "batch_size": 20}
    base |= {"cutout_prob": 1.0} if name == "cutout_length" else {}
    changed = {**base, name: CHANGES[name]}
    if name.startswith("arch_") and name not in METHODS[optimizer].uses:
        with pytest.raises(ValueError, match=f"{name}: got .*, but '{optimizer}' does not use it"):
            tiny_search(**changed)
        return
    reference = final_state(tiny_search(**base))
    assert torch.equal(reference, final_state(tiny_search(**base)))
    assert not torch.equal(reference, final_state(tiny_search(**changed)))


@pytest.mark.parametrize("name", ["arch_learning_rate", "arch_weight_decay"])
@pytest.mark.parametrize("optimizer", [m for m in METHODS if "arch_learning_rate" in METHODS[m].uses])
def test_reaches_the_architecture_optimizer_of_each_method(name, optimizer, tiny_search):
    search = tiny_search(optimizer=optimizer, **{name: 0.123})
    group = search.method.optimizer.param_groups[0]
    assert group["lr" if name == "arch_learning_rate" else "weight_decay"] == 0.123


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_reaches_the_weights_optimizer_of_each_method(optimizer, tiny_search):
    search = tiny_search(
        optimizer=optimizer, learning_rate=0.5, momentum=0.3, weight_decay=0.02, grad_clip=1.5, batch_size=7
    )
    search.weights.start_epoch(0)
    weights = search.weights
    assert (weights.learning_rate, weights.momentum, weights.weight_decay) == (0.5, 0.3, 0.02)
    assert weights.grad_clip == 1.5
    assert search.weight_batches.batch_size == search.architecture_batches.batch_size == 7


def test_cutout_probability_rises_linearly_over_the_search(tiny_search):
    search = tiny_search(epochs=5, cutout_prob=0.8)
    assert [search.cutout_prob(epoch) for epoch in range(5)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert tiny_search(epochs=1, cutout_prob=0.8).cutout_prob(0) == 0


@pytest.mark.parametrize(
    ("optimizer", "batch_size", "grad_clip", "weight_decay"),
    [
        ("darts", 96, 5, 3e-4),
        ("darts_2nd", 96, 5, 3e-4),
        ("gdas", 96, 5, 3e-4),
        ("pc_darts", 96, 5, 3e-4),
        ("enas", 64, 0.25, 1e-4),
        ("random_ws", 64, 0.25, 3e-4),
    ],
)
def test_what_is_left_open_takes_the_default_of_the_optimizer(optimizer, batch_size, grad_clip, weight_decay):
    spec = resolve(SearchSpec(optimizer=optimizer))
    assert (spec.batch_size, spec.grad_clip, spec.weight_decay) == (batch_size, grad_clip, weight_decay)
    assert (spec.learning_rate, spec.learning_rate_min, spec.momentum) == (0.025, 0.001, 0.9)
    assert (spec.cutout_prob, spec.cutout_length, spec.epochs) == (0, 16, 50)


@pytest.mark.parametrize("optimizer", ["darts", "darts_2nd", "gdas", "pc_darts"])
def test_architecture_defaults_are_those_of_darts(optimizer):
    spec = resolve(SearchSpec(optimizer=optimizer))
    assert (spec.arch_learning_rate, spec.arch_weight_decay) == (3e-4, 1e-3)


@pytest.mark.parametrize("space", list(CONFIG_SPACES))
@pytest.mark.parametrize("optimizer", ["darts", "darts_2nd", "gdas", "pc_darts"])
def test_a_study_starts_from_the_spaces_defaults_which_are_those_of_darts(optimizer, space):
    assert default_configuration(optimizer, CONFIG_SPACES[space]) == CONFIG_SPACES[space].default


@pytest.mark.parametrize(
    ("optimizer", "space", "own"),
    [
        ("enas", "cs1", {"weight_decay": 1e-4}),
        ("enas", "cs2", {"weight_decay": 1e-4}),
        # Its clip, 0.25, and its L2 regularisation of the controller, 0, lie outside of cs3.
        ("enas", "cs3", {"weight_decay": 1e-4, "batch_size": 64, "arch_learning_rate": 3.5e-4}),
        ("random_ws", "cs2", {}),
    ],
)
def test_a_study_starts_from_the_optimizers_own_defaults_where_they_lie_in_the_space(optimizer, space, own):
    configuration = default_configuration(optimizer, CONFIG_SPACES[space])
    assert configuration == {**CONFIG_SPACES[space].default, **own}
    assert list(configuration) == list(CONFIG_SPACES[space].names)
    assert all(type(configuration[h.name]) is type(h.default) for h in CONFIG_SPACES[space].hyperparameters)


def test_a_configuration_space_of_something_else_is_refused():
    space = TunerSpace("odd", (Hyperparameter("depth", 1, 5, default=2),))
    with pytest.raises(ValueError, match=r"configuration space odd: got \['depth'\], expected fields"):
        default_configuration("darts", space)


def test_the_documented_defaults_are_those_of_the_optimizers():
    """The table in docs/oneshot.md: a row per optimizer, a column per field, - where the optimizer does not use it."""
    lines = (Path(__file__).parents[3] / "docs" / "oneshot.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| optimizer | `batch_size`"))
    header, _, *rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[start : start + 8]]
    documented = {
        row[0]: {
            name: float(cell.replace(",", "")) for name, cell in zip(header[1:], row[1:], strict=True) if cell != "-"
        }
        for row in rows
    }
    assert documented == {
        name: {field: METHODS[name].defaults[field] for field in METHODS[name].uses} for name in PAPERS
    }
