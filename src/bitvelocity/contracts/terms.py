"""Terms of an index, as they are written in a declaration: a column or an expression, and its order."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from .problems import Wrong

_ORDER = re.compile(r"(?P<rest>.*?\S)(?:\s+(?P<way>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?", re.I | re.S)
_IDENTIFIER = re.compile(r"[^\W\d][\w$]*|\"(?:[^\"]|\"\")+\"")
_PART = re.compile(r"\"(?:[^\"]|\"\")+\"|[^\".]+")
_WITH_CLASS = re.compile(rf"(?P<column>{_IDENTIFIER.pattern})\s+(?P<class>[A-Za-z_][\w.]*)")


@dataclass(frozen=True, slots=True)
class Term:
    """One term. `column` is a source name; else `expression` is SQL."""

    column: str | None = None
    expression: str | None = None
    descending: bool = False
    nulls: Literal["first", "last"] | None = None
    operator_class: str | None = None


def parse_term(text: str, columns: Collection[str]) -> Term:
    """Read `"created_at desc nulls last"`, `"lower(email)"`, `'"Order No"'` or `"payload jsonb_path_ops"`."""
    if text in columns:
        return Term(column=text)
    found = _ORDER.fullmatch(text.strip())
    if not found:
        raise Wrong("an index term is empty", "name a column or write an expression")
    descending = (found["way"] or "").lower() == "desc"
    nulls = _nulls(found["nulls"])
    rest = found["rest"]
    name = unquoted(rest)
    if name in columns:
        return Term(column=name, descending=descending, nulls=nulls)
    classed = _WITH_CLASS.fullmatch(rest)
    if classed and unquoted(classed["column"]) in columns:
        return Term(unquoted(classed["column"]), None, descending, nulls, classed["class"])
    if _IDENTIFIER.fullmatch(rest):
        raise unknown_column(name, columns)
    return Term(expression=rest, descending=descending, nulls=nulls)


def unquoted(name: str) -> str:
    """The name that an SQL identifier stands for: `'"Order No"'` is `Order No`."""
    if len(name) > 2 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name


def unknown_column(name: str, columns: Collection[str]) -> Wrong:
    """The error for a column that is not there, with the nearest one that is."""
    near = get_close_matches(name, list(columns), n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(columns)}"
    return Wrong(f"there is no column {name!r}", remedy)


def _nulls(word: str | None) -> Literal["first", "last"] | None:
    if word is None:
        return None
    return "first" if word.lower() == "first" else "last"


def split_name(name: str) -> tuple[str | None, str]:
    """Schema and name of a possibly qualified SQL name: `'sales."Order State"'` -> `("sales", "Order State")`."""
    parts = [unquoted(part) for part in _PART.findall(name)]
    return (parts[0], parts[1]) if len(parts) == 2 else (None, unquoted(name))
