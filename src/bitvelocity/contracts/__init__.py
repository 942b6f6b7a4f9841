"""The declaration of entities and its frozen, fingerprinted form."""

from .audit import AUDIT_COLUMNS
from .checks import PII_CLASSES
from .entity import Entity, spec_of
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
from .spec import Column, EntitySpec, Index, Partition, Reference
from .types import Type

__all__ = [
    "AUDIT_COLUMNS", "PII_CLASSES", "Bits", "Column", "Default", "Doc", "Entity", "EntitySpec", "Generated",
    "Identity", "Index", "Json", "Key", "Length", "Measured", "Naive", "Name", "Native", "Numeric", "OneOf",
    "Partition", "Pattern", "Pii", "Range", "Ref", "Reference", "Type", "Unique", "Zoned", "spec_of",
]  # fmt: skip
