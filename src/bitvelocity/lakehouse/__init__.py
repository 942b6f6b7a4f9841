"""Where changes become tables: bronze untouched, silver typed, gold computed; Delta Lake on disk."""

from .delta import LocalTable
from .fitting import CONTRACT, REFUSED, Misfit
from .gold import Gold, GoldReceipt, Model, load_models
from .gold.verify import ModelVerdict
from .known import Known, among
from .lake import Lake
from .layers import Layers
from .letters import FOLLOWS, LETTER_NAME, LETTERS_SCHEMA, DeadLetters, count_parked, stored_letters
from .matching import Mismatch, fits, mismatches
from .reading import LakeReader
from .rebuild import Rebuilt, rebuild
from .reconcile import EntityVerdict, compare_gold, compare_silver
from .replaying import replay, stretch
from .shapes import MARKER, stored_shapes, unsent_above
from .silver import Changed
from .stored import Outdated, as_stored, in_stored_order, kept_as_text, outdated
from .table import DataFile, Staged, Table
from .upkeep import Care
from .views import event_id
from .watermark import Watermark, publish, read_watermark

__all__ = [
    "CONTRACT",
    "FOLLOWS",
    "LETTERS_SCHEMA",
    "LETTER_NAME",
    "MARKER",
    "REFUSED",
    "Care",
    "Changed",
    "DataFile",
    "DeadLetters",
    "EntityVerdict",
    "Gold",
    "GoldReceipt",
    "Known",
    "Lake",
    "LakeReader",
    "Layers",
    "LocalTable",
    "Misfit",
    "Mismatch",
    "Model",
    "ModelVerdict",
    "Outdated",
    "Rebuilt",
    "Staged",
    "Table",
    "Watermark",
    "among",
    "as_stored",
    "compare_gold",
    "compare_silver",
    "count_parked",
    "event_id",
    "fits",
    "in_stored_order",
    "kept_as_text",
    "load_models",
    "mismatches",
    "outdated",
    "publish",
    "read_watermark",
    "rebuild",
    "replay",
    "stored_letters",
    "stored_shapes",
    "stretch",
    "unsent_above",
]  # fmt: skip
