"""Where changes become tables: bronze untouched, silver typed, gold computed; Delta Lake on disk."""

from .delta import LocalTable
from .lake import Lake
from .layers import Layers
from .reading import LakeReader
from .silver import Changed
from .table import DataFile, Staged, Table
from .views import event_id
from .watermark import Watermark, publish, read_watermark

__all__ = [
    "Changed", "DataFile", "Lake", "LakeReader", "Layers", "LocalTable", "Staged", "Table", "Watermark", "event_id", "publish",
    "read_watermark",
]  # fmt: skip
