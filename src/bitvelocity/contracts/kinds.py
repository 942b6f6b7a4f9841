"""Python types become logical types here, and nowhere else."""

from __future__ import annotations

import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

from .hints import Hint, take_apart
from .markers import Bits, Json, Length, Marker, Naive, Native, Numeric, Zoned
from .problems import Wrong
from .types import Kind, Type

PYTHON_KINDS: dict[type, Kind] = {
    bool: "boolean",
    int: "int64",
    float: "float64",
    Decimal: "decimal",
    str: "text",
    bytes: "bytes",
    UUID: "uuid",
    date: "date",
    time: "time",
    datetime: "timestamptz",
    timedelta: "interval",
    dict: "jsonb",
    list: "jsonb",
}
"""What a plain annotation means; markers shape it further."""

SHAPES = (Numeric, Length, Bits, Naive, Zoned, Json, Native)
_INTEGERS: dict[int, Kind] = {16: "int16", 32: "int32", 64: "int64"}
_FLOATS: dict[int, Kind] = {32: "float32", 64: "float64"}


def type_of(hint: Hint) -> Type:
    """The logical type of an annotation; raises `Wrong` when it has none, or more than one."""
    shapes = [marker for marker in hint.markers if isinstance(marker, SHAPES)]
    whole = next((marker for marker in shapes if isinstance(marker, (Json, Native))), None)
    if whole is not None:
        if len(shapes) > 1:
            raise Wrong(f"{whole} says the whole type already", "remove the other markers of type")
        return _whole(whole, hint.python)
    plain = _plain(hint.python)
    for marker in shapes:
        plain = _shaped(marker, plain)
    if plain.kind == "decimal" and not any(isinstance(marker, Numeric) for marker in shapes):
        raise Wrong("a Decimal needs its digits", "write Annotated[Decimal, Numeric(10, 2)]")
    return plain


def choices_of(python: Any) -> tuple[str, ...]:
    """The values that a `Literal` or an `Enum` allows; empty for every other type."""
    if get_origin(python) is Literal:
        values = get_args(python)
    elif isinstance(python, type) and issubclass(python, enum.Enum):
        values = tuple(member.value for member in python)
    else:
        return ()
    odd = [value for value in values if not isinstance(value, str)]
    if odd:
        raise Wrong(f"the choice {odd[0]!r} is not text", 'write choices as text: Literal["1", "2"]')
    return tuple(values)


def _is_choice(python: Any) -> bool:
    return get_origin(python) is Literal or (isinstance(python, type) and issubclass(python, enum.Enum))


def _whole(marker: Json | Native, python: Any) -> Type:
    if isinstance(marker, Json):
        return Type("jsonb" if marker.binary else "json")
    if _is_choice(python):
        return Type("enum", native=marker.name, choices=choices_of(python))
    return Type("other", native=marker.name)


def _plain(python: Any) -> Type:
    if _is_choice(python):
        return Type("text")
    if python is Any or python is object:
        raise Wrong("Any says nothing about the column", 'add Native("the_type") or Json()')
    origin = get_origin(python) or python
    if origin is list and get_args(python):
        return _array(get_args(python)[0])
    if origin in PYTHON_KINDS:
        return Type(PYTHON_KINDS[origin])
    raise Wrong(
        f"{getattr(python, '__name__', python)} has no column type",
        'use a plain Python type, Json() for a document, or Native("the_type") for a type of PostgreSQL',
    )


def _array(item: Any) -> Type:
    hint = take_apart(item)
    if dict in (hint.python, get_origin(hint.python)) and not hint.markers:
        raise Wrong(
            "a list of dict may be one document or an array of documents",
            "write Annotated[list[...], Json()] for one, list[Annotated[dict, Json()]] for the other",
        )
    return Type("array", item=type_of(hint))


def _shaped(marker: Marker, plain: Type) -> Type:
    match marker, plain.kind:
        case Numeric(precision=precision, scale=scale), "decimal" if precision is not None or scale == 0:
            shaped = Type("decimal", precision=precision, scale=None if precision is None else scale)
        case Length(characters=characters, fixed=fixed), "text" if fixed or characters is not None:
            shaped = Type("char" if fixed else "text", length=characters)
        case Bits(width=width), "int64" if width in _INTEGERS:
            shaped = Type(_INTEGERS[width])
        case Bits(width=width), "float64" if width in _FLOATS:
            shaped = Type(_FLOATS[width])
        case Naive(), "timestamptz":
            shaped = Type("timestamp")
        case Zoned(), "time":
            shaped = Type("timetz")
        case _, "array":
            raise Wrong(f"{marker} stands on the list", "put it on the element: list[Annotated[..., ...]]")
        case _:
            raise Wrong(f"{marker} does not fit {plain}", _FITS[type(marker)])
    return shaped


_FITS: dict[type[Marker], str] = {
    Numeric: "Numeric(precision, scale) is for Decimal",
    Length: "Length(characters) is for str, once",
    Bits: "Bits(16) and Bits(32) are for int, Bits(32) is for float",
    Naive: "Naive() is for datetime",
    Zoned: "Zoned() is for time",
}
