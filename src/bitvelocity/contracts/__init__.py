"""The declaration of entities and its frozen, fingerprinted form."""

from .audit import AUDIT_COLUMNS
from .checks import PII_CLASSES
from .compatibility import Difference, differences
from .entity import Entity, spec_of
from .load import load_specs
from .markers import (
    Bits,
    Default,
    Doc,
    Generated,
    Identity,
    Json,
    Key,
    Length,
    Measured,
    Naive,
    Name,
    Native,
    Numeric,
    OneOf,
    Pattern,
    Pii,
    Range,
    Ref,
    Unique,
    Zoned,
)
from .names import constraint_name
from .sets import check_set, in_order
from .source import render_entities
from .spec import Column, EntitySpec, Index, Partition, Reference
from .types import Type

__all__ = [
    "AUDIT_COLUMNS", "PII_CLASSES", "Bits", "Column", "Default", "Difference", "Doc", "Entity",
    "EntitySpec", "Generated", "Identity", "Index", "Json", "Key", "Length", "Measured", "Naive",
    "Name", "Native", "Numeric", "OneOf", "Partition", "Pattern", "Pii", "Range", "Ref", "Reference",
    "Type", "Unique", "Zoned", "check_set", "constraint_name", "differences", "in_order", "load_specs",
    "render_entities", "spec_of",
]  # fmt: skip
