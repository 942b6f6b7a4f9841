"""Where changes become tables: bronze untouched, silver typed, gold computed; Delta Lake on disk."""

from .delta import LocalTable
from .lake import Lake
from .silver import Changed
from .table import DataFile, Staged, Table
from .watermark import Watermark, publish, read_watermark

__all__ = [
    "Changed", "DataFile", "Lake", "LocalTable", "Staged", "Table", "Watermark", "publish", "read_watermark",
]  # fmt: skip
