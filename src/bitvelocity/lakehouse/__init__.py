"""Where changes become tables: bronze untouched, silver typed, gold computed; Delta Lake on disk."""

from .delta import LocalTable
from .gold import (
    Gold,
    GoldReceipt,
    InputPlan,
    Model,
    ModelColumn,
    ModelVerdict,
    Plan,
    load_models,
    plan_models,
)
from .lake import Lake
from .layers import Layers
from .reading import LakeReader
from .reconcile import EntityVerdict, compare_gold, compare_silver
from .silver import Changed
from .table import DataFile, Staged, Table
from .views import event_id
from .watermark import Watermark, publish, read_watermark

__all__ = [
    "Changed", "DataFile", "EntityVerdict", "Gold", "GoldReceipt", "InputPlan", "Lake", "LakeReader", "Layers",
    "LocalTable", "Model", "ModelColumn", "ModelVerdict", "Plan", "Staged", "Table", "Watermark", "compare_gold",
    "compare_silver", "event_id", "load_models", "plan_models", "publish", "read_watermark",
]  # fmt: skip
