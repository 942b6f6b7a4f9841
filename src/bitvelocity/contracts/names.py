"""Names of the things in the database that a declaration does not name itself."""

from __future__ import annotations

import hashlib
from typing import Literal

from .checks import LONGEST_NAME

ConstraintKind = Literal["pk", "fk", "uq", "ck"]


def constraint_name(kind: ConstraintKind, table: str, *parts: str) -> str:
    """A name that stays the same for the same constraint, and fits PostgreSQL.

    >>> constraint_name("ck", "orders", "total_amount", "range")
    'ck_orders_total_amount_range'
    """
    name = "_".join((kind, table, *parts))
    if len(name.encode()) <= LONGEST_NAME:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST_NAME - len(mark) - 1].decode(errors="ignore") + "_" + mark
