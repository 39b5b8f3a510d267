"""The errors of tables; each message names the event and the way out."""

from __future__ import annotations


class TableError(ValueError):
    """A table, or a file that should become a table, cannot be used as asked."""


class WrongFileError(TableError):
    """The file is of another kind: no TFRecord, or a TFRecord without rows of NAS-Bench-101."""


class DamagedFileError(TableError):
    """The file is of the right kind, but cut short or altered."""


class IncompleteTableError(TableError):
    """Some cell lacks a budget or a repeat that others have, or the numbers contradict each other."""


class TableNotFoundError(TableError):
    """A table, a source file, or the directory for one does not exist."""


class TableExistsError(TableError):
    """The target exists already and is not overwritten."""


class NoSpaceError(TableError):
    """The disk has too little room."""


class DownloadError(TableError):
    """A file could not be downloaded, or differs from the expected file."""


class UnknownBudgetError(TableError):
    """The table holds no results for this number of epochs."""


class CellNotInTableError(TableError, LookupError):
    """The cell is valid, but the table has no row for it."""


class WrongDatasetError(TableError):
    """The table belongs to another data set, or does not state its data set."""
