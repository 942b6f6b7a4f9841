"""Where changes become tables: bronze untouched, silver typed, gold computed; Delta Lake on disk."""

from .delta import LocalTable
from .table import DataFile, Staged, Table

__all__ = ["DataFile", "LocalTable", "Staged", "Table"]
