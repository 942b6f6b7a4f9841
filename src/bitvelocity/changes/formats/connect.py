"""PostgreSQL's types as Kafka Connect has them: the schema, and how a column of them is encoded."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import odd, temporal, values
from .described import Described
from .options import Options
from .values import Encode, json_string

Schema = Mapping[str, Any]
"""As the JSON converter prints it, without `optional`, `default` and `field`."""

_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_EPOCH = '"1970-01-01T00:00:00Z"'


@dataclass(frozen=True, slots=True)
class ConnectType:
    """A type of values. `nothing` is what a value that must not be NULL becomes when the source did not send it."""

    schema: Schema
    encode: Encode
    nothing: str
    placeholder: str | None = None
    """What stands for a value that the source did not send because it did not change."""


def field_schema(schema: Schema, *, optional: bool, name: str | None = None, default: str | None = None) -> str:
    """A schema as JSON text, its keys in the converter's order."""
    first = {key: schema[key] for key in ("type", "fields", "items", "keys", "values") if key in schema}
    rest = {key: schema[key] for key in ("name", "version", "doc", "parameters") if key in schema}
    text = dumps({**first, "optional": optional, **rest})
    tail = f',"default":{default}' if default is not None else ""
    tail += f',"field":{json_string(name)}' if name is not None else ""
    return text[:-1] + tail + "}"


def dumps(value: object) -> str:
    """Compact JSON, as Jackson writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def named(kind: str, name: str, **parameters: str) -> Schema:
    """A semantic type of Debezium's or Connect's."""
    schema: dict[str, Any] = {"type": kind, "name": name, "version": 1}
    return {**schema, "parameters": parameters} if parameters else schema


def element(schema: Schema) -> Mapping[str, Any]:
    """A schema as an array's items or a map's values."""
    parsed: Mapping[str, Any] = json.loads(field_schema(schema, optional=True))
    return parsed


VARIABLE = {
    "type": "struct",
    "fields": [
        {"type": "int32", "optional": False, "field": "scale"},
        {"type": "bytes", "optional": False, "field": "value"},
    ],
    "name": "io.debezium.data.VariableScaleDecimal",
    "version": 1,
    "doc": "Variable scaled decimal",
}
POINT = {
    "type": "struct",
    "fields": [
        {"type": "double", "optional": False, "field": "x"},
        {"type": "double", "optional": False, "field": "y"},
        {"type": "bytes", "optional": True, "field": "wkb"},
        {"type": "int32", "optional": True, "field": "srid"},
    ],
    "name": "io.debezium.data.geometry.Point",
    "version": 1,
    "doc": "Geometry (POINT)",
}
_INTS = {21: "int16", 23: "int32", 20: "int64", 26: "int64"}
_STRINGS = frozenset((18, 19, 25, 650, 774, 829, 869, 1042, 1043, 3904, 3906, 3908, 3910, 3912, 3926))
_SEMANTIC = {114: ("Json", '"{}"'), 3802: ("Json", '"{}"'), 142: ("Xml", '""'), 3614: ("Tsvector", '""')}
_NO_ARRAYS = frozenset((790, 19, 1186, 1562, 142, 600, 1790))
"""Types whose arrays Debezium leaves out."""


def connect_type(described: Described, oid: int, modifier: int, options: Options) -> ConnectType | None:
    """The type of a column; None for types that Debezium leaves out."""
    oid, modifier = described.resolve(oid, modifier)
    held = json_string(options.unavailable_value_placeholder)
    if oid in _INTS:
        return ConnectType({"type": _INTS[oid]}, values.plain, "0")
    if oid in _STRINGS or oid in _SEMANTIC:
        name, nothing = _SEMANTIC.get(oid, ("", '""'))
        schema = named("string", f"io.debezium.data.{name}") if name else {"type": "string"}
        return ConnectType(schema, values.quoted, nothing, held)
    if oid in _TEMPORAL:
        return _temporal(oid, modifier, options)
    if oid in (1700, 790):
        return _number(oid, modifier, options)
    if oid in (1560, 1562):
        return _bits(modifier if oid == 1560 or modifier > 0 else 0)
    return _fixed(oid, options) or _by_name(described, oid, modifier, options)


def _fixed(oid: int, options: Options) -> ConnectType | None:
    if oid == 16:
        return ConnectType({"type": "boolean"}, values.booleans, "false")
    if oid in (700, 701):
        return ConnectType({"type": "float" if oid == 700 else "double"}, values.floats, "0.0")
    if oid == 2950:
        return ConnectType(named("string", "io.debezium.data.Uuid"), values.safe_quoted, '""')
    if oid == 17:
        return _bytes(options)
    if oid == 600:
        return ConnectType(POINT, odd.points, '{"x":0.0,"y":0.0,"wkb":null,"srid":null}')
    return None


def _bytes(options: Options) -> ConnectType:
    raw = options.unavailable_value_placeholder.encode()
    encode, held = {
        "bytes": (values.hex_to_base64, base64.b64encode(raw).decode()),
        "base64": (values.hex_to_base64, base64.b64encode(raw).decode()),
        "base64-url-safe": (values.hex_to_url_safe, base64.urlsafe_b64encode(raw).decode()),
        "hex": (values.hex_as_text, raw.hex()),
    }[options.binary_handling_mode]
    kind = "bytes" if options.binary_handling_mode == "bytes" else "string"
    return ConnectType({"type": kind}, encode, '""', f'"{held}"')


def _bits(width: int) -> ConnectType:
    if width == 1:
        return ConnectType({"type": "boolean"}, values.bits(1), "false")
    length = str(width or 2147483647)
    return ConnectType(named("bytes", "io.debezium.data.Bits", length=length), values.bits(width), '""')


def _number(oid: int, modifier: int, options: Options) -> ConnectType:
    is_money = oid == 790

    def read(encode: Encode) -> Encode:
        return (lambda column: encode(values.money(column))) if is_money else encode

    if options.decimal_handling_mode == "double":
        return ConnectType({"type": "double"}, read(values.numeric_as_double), "0.0")
    if options.decimal_handling_mode == "string":
        return ConnectType({"type": "string"}, read(values.number_text(strict=options.strict_debezium)), '"0"')
    if is_money:
        return ConnectType(named("bytes", _DECIMAL, scale="2"), read(values.decimals), '"AA=="')
    if modifier < 4:
        return ConnectType(VARIABLE, values.variable_decimals, '{"scale":0,"value":"AA=="}')
    precision, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
    schema = named("bytes", _DECIMAL, scale=str(scale), **{"connect.decimal.precision": str(precision)})
    return ConnectType(schema, values.decimals, '"AA=="')


_TEMPORAL = frozenset((1082, 1083, 1114, 1184, 1186, 1266))
_ISO: Mapping[int, tuple[str, Encode, str]] = {
    1082: ("IsoDate", temporal.iso_dates, '"1970-01-01Z"'),
    1083: ("IsoTime", temporal.iso_times, '"00:00:00Z"'),
    1114: ("IsoTimestamp", temporal.iso_timestamps, _EPOCH),
    1186: ("Interval", temporal.iso_intervals, '"P0Y0M0DT0H0M0S"'),
    1266: ("ZonedTime", temporal.zoned_times, '"00:00:00Z"'),
}
_TIME, _CONNECT = "io.debezium.time.", "org.apache.kafka.connect.data."


def _temporal(oid: int, modifier: int, options: Options) -> ConnectType:
    digits = modifier if modifier >= 0 else 6
    mode = options.time_precision_mode
    if oid == 1184:
        return ConnectType(named("string", _TIME + "ZonedTimestamp"), temporal.zoned_timestamps(digits), _EPOCH)
    if oid == 1266 or (options.interval_handling_mode == "string" if oid == 1186 else mode == "isostring"):
        name, encode, nothing = _ISO[oid]
        encode = temporal.with_overflow(encode, oid) if options.strict_debezium else encode
        return ConnectType(named("string", _TIME + name), encode, nothing)
    kind, name, encode = _counted(oid, digits, options)
    return ConnectType(named(kind, name), encode, "0")


def _counted(oid: int, digits: int, options: Options) -> tuple[str, str, Encode]:
    """Moments as numbers: type, name, encoder."""
    if oid == 1186:
        return "int64", _TIME + "MicroDuration", temporal.intervals
    if oid == 1082:
        name = _CONNECT + "Date" if options.time_precision_mode == "connect" else _TIME + "Date"
        return "int32", name, temporal.dates(strict=options.strict_debezium)
    kind, name, per_second = _unit(oid, digits, options.time_precision_mode)
    return kind, name, temporal.times(per_second) if oid == 1083 else temporal.timestamps(per_second)


def _unit(oid: int, digits: int, mode: str) -> tuple[str, str, int]:
    """Type, name and units per second of a time or timestamp."""
    what = "Time" if oid == 1083 else "Timestamp"
    if mode == "connect":
        return "int32" if oid == 1083 else "int64", _CONNECT + what, 1000
    if mode == "nanoseconds":
        return "int64", f"{_TIME}Nano{what}", 1_000_000_000
    fine = mode == "microseconds" or (mode == "adaptive_time_microseconds" and oid == 1083)
    if fine or digits > 3:
        return "int64", f"{_TIME}Micro{what}", 1_000_000
    return "int32" if oid == 1083 else "int64", _TIME + what, 1000


def _by_name(described: Described, oid: int, modifier: int, options: Options) -> ConnectType | None:
    """Types of extensions, enums and arrays."""
    facts = described.types.get(oid)
    if facts is None:
        return None
    held = json_string(options.unavailable_value_placeholder)
    if facts.kind == "array":
        return _array(described, facts.target, modifier, options)
    if facts.name == "hstore":
        return _hstore(held, options)
    schema: Schema | None = {
        "ltree": named("string", "io.debezium.data.Ltree"), "citext": {"type": "string"}, "isbn": {"type": "string"},
    }.get(facts.name)  # fmt: skip
    if facts.kind == "enum":
        schema = named("string", "io.debezium.data.Enum", allowed=",".join(facts.labels))
    return None if schema is None else ConnectType(schema, values.quoted, '""', held)


def _hstore(held: str, options: Options) -> ConnectType:
    one = f"{{{held}:{held}}}"
    if options.hstore_handling_mode == "json":
        return ConnectType(named("string", "io.debezium.data.Json"), odd.hstore_json, '"{}"', json_string(one))
    sides = {"keys": {"type": "string", "optional": False}, "values": {"type": "string", "optional": True}}
    return ConnectType({"type": "map", **sides}, odd.hstore_maps, "{}", one)


def _array(described: Described, target: int, modifier: int, options: Options) -> ConnectType | None:
    is_domain = (facts := described.types.get(target)) is not None and facts.kind == "domain"
    if target in _NO_ARRAYS or is_domain or (inner := connect_type(described, target, modifier, options)) is None:
        return None
    if target == 1700 and options.decimal_handling_mode == "precise" and modifier >= 4:
        inner = connect_type(described, target, -1, options) or inner
    schema = {"type": "array", "items": element(inner.schema)}
    held = f"[{inner.placeholder}]" if inner.placeholder else None
    return ConnectType(schema, odd.arrays(inner.encode), "[]", held)
