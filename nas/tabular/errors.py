"""What can go wrong with a table; each message says what, got, expected, and what next."""

from __future__ import annotations


class TableError(ValueError):
    """A table, or a file that should become one, is not usable as asked."""


class WrongFileError(TableError):
    """The file is not what it was taken for: no TFRecord, or no rows of NAS-Bench-101 in it."""


class DamagedFileError(TableError):
    """The file is of the right kind, but cut short or altered."""


class IncompleteTableError(TableError):
    """Some cell lacks a budget or a repeat that others have, or the numbers contradict each other."""


class TableNotFoundError(TableError):
    """There is no table, or no source file, where one was asked for."""


class TableExistsError(TableError):
    """The target is there already and is not overwritten."""


class NoSpaceError(TableError):
    """The disk has too little room; nothing was left behind."""


class DownloadError(TableError):
    """A file could not be fetched, or is not the file that it should be."""


class UnknownBudgetError(TableError):
    """The table holds no results for this number of epochs."""


class CellNotInTableError(TableError, LookupError):
    """The cell is valid, but the table has no row for it."""


class WrongDatasetError(TableError):
    """The table belongs to another data set, or does not say to which."""
