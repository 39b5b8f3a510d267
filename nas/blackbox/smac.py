"""SMAC: a random forest of ten trees predicts the error, expected improvement chooses.

The first configuration and a third of the others are drawn at random. A configuration that rivals the incumbent is
evaluated up to four times; each time counts and costs, though a table answers a repeat in the same way every time.

Sources: Hutter et al. (2011), *Sequential Model-Based Optimization for General Algorithm Configuration*; SMAC 2
(``HyperparameterOptimizationFacade``); automl/nasbench-1shot1 (``discrete/smac.py``), whose settings these are.

Differs from the original: SMAC 2 in place of SMAC 0.12; the forest is fitted after every eight configurations, SMAC
2's default, and not after each, which takes about five times as long. The local search begins at its points in an order
of their own: SMAC 2.4 begins in the order of a set, which differs between processes, whatever the seed.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nas.blackbox.baseline import SingleBaseline
from nas.blackbox.encoding import Encoding

if TYPE_CHECKING:
    from smac import Scenario
    from smac.acquisition.maximizer import LocalAndSortedRandomSearch

N_TREES = 10
RANDOM_FRACTION = 0.33
MAX_EVALUATIONS = 4


class Smac(SingleBaseline):
    """See the module; needs ``smac``."""

    needs: ClassVar[str | None] = "smac"

    def begin(self, rng: np.random.Generator) -> None:
        """Makes SMAC's facade; what it writes goes to a temporary folder, which ends with this object."""
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario
        from smac.initial_design import RandomInitialDesign
        from smac.model.random_forest import RandomForest

        # It warns each time that its acquisition function finds fewer than eight new configurations.
        logging.getLogger("smac").setLevel(logging.ERROR)
        self._encoding = Encoding(self.task.space)
        self._folder = TemporaryDirectory(prefix="nasbohb-smac-")
        seed = int(rng.integers(2**31))
        scenario = Scenario(
            self._encoding.config_space(seed),
            output_directory=Path(self._folder.name),
            n_trials=self.task.most_epochs // self.task.epochs[-1] + 2,
            seed=seed,
        )
        self._smac = Facade(
            scenario,
            self._never_called,
            # As the facade's own, but without a pool of threads for each prediction: that took most of the time.
            model=RandomForest(
                scenario.configspace,
                n_trees=N_TREES,
                ratio_features=1.0,
                min_samples_split=2,
                min_samples_leaf=1,
                log_y=True,
                n_jobs=1,
                seed=seed,
            ),
            acquisition_maximizer=_maximizer(scenario),
            initial_design=RandomInitialDesign(scenario, n_configs=1, max_ratio=1.0),
            random_design=Facade.get_random_design(scenario, probability=RANDOM_FRACTION),
            intensifier=Facade.get_intensifier(scenario, max_config_calls=MAX_EVALUATIONS),
            overwrite=True,
            logging_level=False,
        )

    @staticmethod
    def _never_called(config: object, seed: int) -> float:
        raise AssertionError("SMAC is driven by ask and tell")

    def ask_one(self) -> tuple[int, int]:
        """SMAC's next trial."""
        self._trial = self._smac.ask()
        return self._encoding.index(dict(self._trial.config)), self.task.epochs[-1]

    def tell_one(self, validation_error: float) -> None:
        """Tells SMAC."""
        from smac.runhistory import TrialValue

        self._smac.tell(self._trial, TrialValue(cost=validation_error), save=False)


def _maximizer(scenario: Scenario) -> LocalAndSortedRandomSearch:
    """The facade's own maximizer of the acquisition function, but for the order of the local search's points."""
    from smac import HyperparameterOptimizationFacade as Facade
    from smac.acquisition.maximizer import LocalSearch

    class OrderedLocalSearch(LocalSearch):
        def _get_init_points_from_previous_configs(self, *arguments: Any) -> list[Any]:
            points = super()._get_init_points_from_previous_configs(*arguments)
            return sorted(points, key=lambda config: tuple(config.get_array()))

    maximizer = Facade.get_acquisition_maximizer(scenario)
    maximizer._local_search = OrderedLocalSearch(scenario.configspace, seed=scenario.seed)
    return maximizer
