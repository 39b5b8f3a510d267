"""The place of a study's data on a worker's machine, where it differs from that on the master's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from nas.datasets import Part, load_dataset
from nas.tabular import open_table, portable_name
from nas.tabular.matching import check_table_fits
from results.records import StudySpec

#: Part that a search loads in any case.
_LOADED: tuple[Part, ...] = ("train",)


@dataclass(frozen=True)
class Placement:
    """Paths on this machine.

    Attributes:
        data_dir: Folder of the data set's files; None for the study's own.
        table: Path of the table; None for the study's own.
    """

    data_dir: Path | None = None
    table: Path | None = None

    def of(self, study: StudySpec) -> StudySpec:
        """Returns the study with the paths of this machine."""
        return msgspec.structs.replace(
            study,
            data_dir=study.data_dir if self.data_dir is None else str(self.data_dir.absolute()),
            table=study.table if self.table is None else portable_name(self.table),
        )

    def check(self, study: StudySpec) -> None:
        """Opens what lies at the given paths.

        Raises:
            ValueError: The data set or the table is missing, or it is another one than the study's; the message names
                the option.
        """
        here = self.of(study)
        if self.data_dir is not None:
            load_dataset(here.dataset, here.data_dir, parts=_LOADED)
        if self.table is None:
            return
        table = open_table(here.table)
        check_table_fits(table, here.dataset, here.data_dir)
        if study.table_sha256 not in (None, table.sha256):
            raise ValueError(
                f"--table: got {self.table}, which holds other numbers than the study's table, {study.table}; copy "
                "that table to this machine"
            )
