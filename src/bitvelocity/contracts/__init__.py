"""The declaration of entities and its frozen, fingerprinted form."""

from .spec import Column, EntitySpec, Index, Partition, Reference
from .types import Type

__all__ = ["Column", "EntitySpec", "Index", "Partition", "Reference", "Type"]
