"""What values stand for beyond their type: no registry's own rules ask, and every amount or time may be read wrongly.

A decimal(12,2) read as a decimal(12,4) is money divided by a hundred without an error; milliseconds read as microseconds are
another day. Each kind of schema tells its meanings in its own way; they are held against each other here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .objections import Objection

MISMATCH = "LOGICAL_TYPE_MISMATCH"
_CONNECT, DEBEZIUM_TIMES = "org.apache.kafka.connect.data.", "io.debezium.time."


@dataclass(frozen=True, slots=True)
class Meaning:
    """`decimal`, `timestamp-micros`, or a name of Connect's or Debezium's. Precision 0: as many digits as there are."""

    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        if self.name != "decimal":
            return self.name
        return f"decimal({self.precision},{self.scale})" if self.precision else f"decimal of scale {self.scale}"


def connect_meaning(name: Any, parameters: Any) -> Meaning | None:
    """What a schema of Connect's means, by its name and parameters."""
    told: Mapping[str, Any] = parameters if isinstance(parameters, Mapping) else {}
    if not isinstance(name, str):
        return None
    if name == f"{_CONNECT}Decimal":
        return Meaning("decimal", _number(told.get("connect.decimal.precision")), _number(told.get("scale")))
    return Meaning(name) if name.startswith((_CONNECT, DEBEZIUM_TIMES)) else None


def _number(text: Any) -> int:
    return int(text) if str(text).lstrip("-").isdecimal() else 0


def meaning_objections(reader: Meaning | None, writer: Meaning | None, path: str, *, read: object, written: object) -> tuple[Objection, ...]:
    """A value must mean the same after it was read; a decimal may gain digits before the point, never lose any.

    `read` and `written` are what the two are called where they mean nothing more than their type says.
    """
    if reader == writer:
        return ()
    told, was = reader or read, writer or written
    if reader and writer and reader.name == writer.name == "decimal":
        if reader.scale != writer.scale:
            what = f"{was} would be read as {told}: every amount changes by a power of ten"
        elif reader.precision and (not writer.precision or reader.precision < writer.precision):
            what = f"{was} has values that {told} cannot hold"
        else:
            return ()
    else:
        what = f"{was} would be read as {told}, with the same value and another meaning"
    return (Objection(MISMATCH, path, what),)
