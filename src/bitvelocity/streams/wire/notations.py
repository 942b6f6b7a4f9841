"""Ways of writing values, by name."""

from __future__ import annotations

from ...changes.formats.avro import AvroNotation
from ...changes.formats.jsonnotation import JsonNotation
from ...changes.formats.notation import Notation, Register, unregistered
from ...changes.formats.protobuf import ProtobufNotation
from ...errors import SettingsError

NOTATIONS = ("avro", "json", "protobuf")
"""`json` without a registry is what an `Encoder` writes without a notation."""


def notation(name: str, register: Register | None = None) -> Notation | None:
    """The notation of that name; None: plain JSON, with or without its schema, as the options say."""
    if name == "avro":
        return AvroNotation(register or unregistered)
    if name == "protobuf":
        return ProtobufNotation(register or unregistered)
    if name == "json":
        return None if register is None else JsonNotation(register)
    raise SettingsError(
        f"There is no notation {name!r}.", safe="Nothing was written.", remedy=f"It is one of: {', '.join(NOTATIONS)}."
    )


__all__ = ["NOTATIONS", "notation"]
