"""What a field's options tell of Connect's schema."""

from __future__ import annotations

import json
import re
from typing import Any

from .schema import META, Schema

_EXTENSION, _PARAMS = 1088, 2


def told_of(options: Any) -> Schema:
    """The rest of Connect's schema, from `confluent.field_meta`: as it was written, or as an extension."""
    from google.protobuf.text_encoding import CUnescape

    for one in options.uninterpreted_option:
        if [part.name_part for part in one.name] == ["confluent.field_meta"]:
            found = re.search(rf'"{re.escape(META)}"\s*,?\s*value\s*:\s*"((?:[^"\\]|\\.)*)"', one.aggregate_value)
            return _parsed(CUnescape(found[1]).decode()) if found else {}
    from google.protobuf.unknown_fields import UnknownFieldSet

    for meta in UnknownFieldSet(options):
        if meta.field_number == _EXTENSION:
            return _parsed(_parameter(meta.data))
    return {}


def _parsed(text: str) -> Schema:
    found: Schema = json.loads(text) if text else {}
    return found


def _parameter(meta: bytes) -> str:
    """Our parameter in the bytes of a `confluent.Meta`."""
    from google.protobuf.empty_pb2 import Empty  # has no fields: it reads any bytes, and keeps them
    from google.protobuf.unknown_fields import UnknownFieldSet

    for entry in UnknownFieldSet(Empty.FromString(meta)):
        if entry.field_number == _PARAMS:
            pair = {one.field_number: one.data for one in UnknownFieldSet(Empty.FromString(entry.data))}
            if pair.get(1) == META.encode():
                return bytes(pair[2]).decode()
    return ""


__all__ = ["told_of"]
