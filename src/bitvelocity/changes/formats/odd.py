"""The types that go value by value: arrays, hstore, points."""

from __future__ import annotations

import base64
import re
import struct

import polars as pl

from .values import Encode, by_value, java_float, json_string

_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)|([{}])', re.DOTALL)


def parse_array(text: str) -> list[str | None]:
    """The elements of an array as PostgreSQL prints it; those of inner arrays one after the other."""
    body = text[text.index("{") :] if text.startswith("[") else text  # [2:4]={...}: bounds other than 1
    if not body.startswith("{"):  # int2vector and oidvector have no braces
        return list(body.split())
    found: list[str | None] = []
    for inside, bare, _ in _ITEM.findall(body):
        if bare:
            found.append(None if bare == "NULL" else re.sub(r"\\(.)", r"\1", bare))
        elif not _:
            found.append(re.sub(r"\\(.)", r"\1", inside, flags=re.DOTALL))
    return found


def arrays(element: Encode) -> Encode:
    """Arrays of what `element` encodes: the elements of a column go through it together."""

    def encode(values: pl.Series) -> pl.Series:
        lists = [None if text is None else parse_array(text) for text in values]
        flat = pl.Series("v", [one for items in lists if items is not None for one in items], pl.String)
        encoded = iter(element(flat).fill_null("null").to_list() if len(flat) else [])
        return pl.Series(
            "v",
            [None if items is None else f"[{','.join(next(encoded) for _ in items)}]" for items in lists],
            pl.String,
        )

    return encode


_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:"((?:[^"\\]|\\.)*)"|NULL)', re.DOTALL)


def _hstore(text: str) -> str:
    pairs = []
    for found in _PAIR.finditer(text):
        key, value = (None if part is None else re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in found.groups())
        pairs.append(f"{json_string(key or '')}:{'null' if value is None else json_string(value)}")
    return "{" + ",".join(pairs) + "}"


def _point(text: str) -> str:
    x, y = (part.strip() for part in text.strip("()").split(","))
    wkb = base64.b64encode(struct.pack("<BIdd", 1, 1, float(x), float(y))).decode()
    return f'{{"x":{java_float(x)},"y":{java_float(y)},"wkb":"{wkb}","srid":null}}'


hstore_maps = by_value(_hstore)
hstore_json = by_value(lambda text: json_string(_hstore(text)))
points = by_value(_point)
