"""Pieces of Python source, laid out as a careful person would write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from .spec import Index, Partition, Reference

WIDTH = 100


def text(value: str) -> str:
    """A string literal, in double quotes where that needs no escapes; raw where there are backslashes."""
    shown = repr(value)
    if "\\" in value and value.isprintable() and not value.endswith("\\") and '"' not in value:
        return f'r"{value}"'
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown and "\\'" not in shown else shown


def tuple_of(values: Sequence[str]) -> str:
    """A tuple literal of strings."""
    return f"({', '.join(map(text, values))}{',' if len(values) == 1 else ''})"


def call(value: Reference | Index | Partition, *, indent: int) -> str:
    """The constructor call that makes a part of a spec, defaults left out."""
    said = []
    for field in fields(value):
        given = getattr(value, field.name)
        if given != field.default:
            said.append(f"{field.name}={_shown(given)}")
    return wrapped(type(value).__name__, said, brackets=("(", ")"), indent=indent)


def listed(name: str, items: Sequence[str]) -> str:
    """A keyword of a class statement whose value is a list."""
    return wrapped(f"{name}=", items, brackets=("[", "]"), indent=4)


def wrapped(head: str, items: Iterable[str], *, brackets: tuple[str, str], indent: int = 0) -> str:
    """`head(a, b)` on one line where it fits, else one item per line. `indent`: where `head` begins."""
    (start, end), shown = brackets, list(items)
    flat = f"{head}{start}{', '.join(shown)}{end}"
    if indent + len(flat) <= WIDTH and "\n" not in flat:
        return flat
    margin = " " * indent
    lines = "".join(f"{margin}    {item},\n" for item in shown)
    return f"{head}{start}\n{lines}{margin}{end}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return tuple_of(value)
    return text(value) if isinstance(value, str) else repr(value)
