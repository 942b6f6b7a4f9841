"""Names of the things in the database that a declaration does not name itself."""

from __future__ import annotations

import hashlib
from typing import Literal

LONGEST_NAME = 63
"""PostgreSQL cuts longer names, in bytes, without an error."""

ConstraintKind = Literal["pk", "fk", "uq", "ck", "idx"]


def constraint_name(kind: ConstraintKind, table: str, *parts: str) -> str:
    """A name that stays the same for the same constraint, and fits PostgreSQL.

    >>> constraint_name("ck", "orders", "total_amount", "range")
    'ck_orders_total_amount_range'
    """
    return fitting("_".join((kind, table, *parts)))


def fitting(name: str) -> str:
    """The name, or its beginning and a hash when it is longer than PostgreSQL takes."""
    if len(name.encode()) <= LONGEST_NAME:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST_NAME - len(mark) - 1].decode(errors="ignore") + "_" + mark
