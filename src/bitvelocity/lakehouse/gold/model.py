"""A model: one SELECT in one `.sql` file, whose header declares what comes out.

```sql
-- model: daily_sales
-- doc: Sales per day of the order.
-- key: order_date_key
-- columns:
--   order_date_key  integer         Day of the order as YYYYMMDD
--   total_revenue   decimal(38,2)   Sum of the orders' totals
select order_date_key, sum(total_amount) as total_revenue
from gold.order_facts
group by order_date_key
```

The header is parsed here and the SQL left alone; `binding.load_models` proves that the two agree.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from bitvelocity.errors import ModelError

from .kinds import ModelType, UnknownTypeError, parse_type

NAME = re.compile(r"[a-z][a-z0-9_]*")
_ENTRY = re.compile(r"--\s?(?P<name>[A-Za-z_]+)\s*:\s*(?P<value>.*)")
_INDENTED = re.compile(r"--(\s{2,}|\t\s*)(?P<text>\S.*)")
_COLUMN = re.compile(r"(?P<name>\S+)\s+(?P<type>[A-Za-z_0-9]+(?:\s*\([^)]*\))?)(?:\s+(?P<doc>.*))?")
_ENTRIES = ("model", "doc", "owner", "key", "columns")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelColumn:
    """A declared output column. `line` is where the header declares it."""

    name: str
    type: ModelType
    doc: str = ""
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Model:
    """A gold table given as SQL. `inputs` are the tables it reads, `silver.orders` or `gold.order_facts`."""

    name: str
    columns: tuple[ModelColumn, ...]
    key: tuple[str, ...]
    sql: str
    path: Path
    doc: str = ""
    owner: str | None = None
    inputs: tuple[str, ...] = ()
    lines: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Line of each header entry, and of the SQL's first word under `sql`."""

    @property
    def table(self) -> str:
        """Its name in queries: `gold.daily_sales`."""
        return f"gold.{self.name}"

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in the declared order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def schema(self) -> pa.Schema:
        """The declared columns as Arrow and Delta keep them."""
        return pa.schema([(column.name, column.type.arrow) for column in self.columns])

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the stored rows may: with SQL, key and columns, not with the documentation."""
        facts = [self.sql, *self.key, *(f"{column.name} {column.type.text}" for column in self.columns)]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def error(self, what: str, line: int, remedy: str) -> ModelError:
        """The error of a mistake that stands in this file."""
        return ModelError(what, entity=self.table, position=f"{self.path.name}:{line}", remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str


def read_model(path: Path) -> Model:
    """The model that a file declares. The SQL is not looked at yet."""
    return parse_model(path.read_text(encoding="utf-8"), path)


def parse_model(text: str, path: Path) -> Model:
    """As `read_model`, from the file's text."""
    return _Header(path).read(text)


class _Header:
    """One reading of one header; it only lives while a file is parsed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entity = f"gold.{path.stem}"

    def read(self, text: str) -> Model:
        header, sql_line, sql = _split(text)
        entries = self._entries(header)
        name = self._name(entries)
        columns = self._columns(entries)
        model = Model(
            name=name,
            columns=columns,
            key=self._key(entries, columns),
            sql=sql,
            path=self.path,
            doc=" ".join(line.text for line in entries.get("doc", [])).strip(),
            owner=entries["owner"][0].text.strip() or None if "owner" in entries else None,
            lines={name: lines[0].number for name, lines in entries.items()} | {"sql": sql_line},
        )
        if not sql:
            raise model.error("there is no SQL under the header", sql_line, "write one SELECT")
        return model

    def wrong(self, what: str, line: int, remedy: str) -> ModelError:
        return ModelError(what, entity=self.entity, position=f"{self.path.name}:{line}", remedy=remedy)

    def _entries(self, header: list[_Line]) -> dict[str, list[_Line]]:
        entries: dict[str, list[_Line]] = {}
        open_entry = ""
        for line in header:
            if entry := _ENTRY.fullmatch(line.text):
                open_entry = entry["name"].lower()
                self._allow(open_entry, entries, line)
                entries[open_entry] = [_Line(line.number, entry["value"].strip())]
            elif more := _INDENTED.fullmatch(line.text):
                if open_entry not in ("doc", "columns"):
                    raise self.wrong("an indented line belongs to no entry", line.number, _remedy_entries())
                entries[open_entry].append(_Line(line.number, more["text"].strip()))
            elif line.text.strip("- \t"):
                raise self.wrong(
                    f"the header does not understand {line.text!r}", line.number, _remedy_entries()
                )
        return entries

    def _allow(self, name: str, entries: dict[str, list[_Line]], line: _Line) -> None:
        if name not in _ENTRIES:
            raise self.wrong(f"the header has no entry {name!r}", line.number, _remedy_entries())
        if name in entries:
            raise self.wrong(f"the header says {name!r} twice", line.number, "keep one of them")

    def _name(self, entries: dict[str, list[_Line]]) -> str:
        if "model" not in entries:
            raise self.wrong(
                "the header names no model", 1, f"begin the file with `-- model: {self.path.stem}`"
            )
        line = entries["model"][0]
        if not NAME.fullmatch(line.text):
            raise self.wrong(
                f"{line.text!r} is no name of a model",
                line.number,
                "use small letters, digits and underscores",
            )
        if line.text != self.path.stem:
            raise self.wrong(
                f"the file is named {self.path.name}, but the model {line.text}",
                line.number,
                f"rename the file to {line.text}.sql, or the model",
            )
        return line.text

    def _columns(self, entries: dict[str, list[_Line]]) -> tuple[ModelColumn, ...]:
        declared = [line for line in entries.get("columns", []) if line.text]
        if not declared:
            raise self.wrong(
                "the model declares no columns",
                entries.get("columns", entries["model"])[0].number,
                "write `-- columns:` and under it one indented line for each: name, type, what it means",
            )
        columns = tuple(self._column(line) for line in declared)
        seen: set[str] = set()
        for column in columns:
            if column.name in seen:
                raise self.wrong(f"column {column.name} is declared twice", column.line, "keep one of them")
            seen.add(column.name)
        return columns

    def _column(self, line: _Line) -> ModelColumn:
        match = _COLUMN.fullmatch(line.text)
        if match is None or not NAME.fullmatch(match["name"]):
            raise self.wrong(
                f"{line.text!r} declares no column",
                line.number,
                "write name (small letters, digits, underscores), type, and what it means",
            )
        try:
            return ModelColumn(
                name=match["name"],
                type=parse_type(match["type"]),
                doc=(match["doc"] or "").strip(),
                line=line.number,
            )
        except UnknownTypeError as error:
            raise self.wrong(f"column {match['name']}: {error}", line.number, error.remedy) from error

    def _key(self, entries: dict[str, list[_Line]], columns: tuple[ModelColumn, ...]) -> tuple[str, ...]:
        if "key" not in entries or not entries["key"][0].text:
            raise self.wrong(
                "the model has no key",
                entries.get("key", entries["model"])[0].number,
                "write `-- key:` and the columns that tell its rows apart, by comma",
            )
        line = entries["key"][0]
        key = tuple(part.strip() for part in line.text.split(","))
        names = [column.name for column in columns]
        for name in key:
            if name not in names:
                raise self.wrong(
                    f"the key names {name!r}, which is no column of the model",
                    line.number,
                    f"declare it, or use: {', '.join(names)}",
                )
        if len(set(key)) < len(key):
            raise self.wrong("the key names a column twice", line.number, "keep one of them")
        return key


def _split(text: str) -> tuple[list[_Line], int, str]:
    lines = text.splitlines()
    header: list[_Line] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("--"):
            return header, number, "\n".join(lines[number - 1 :]).strip().rstrip("; \n\t")
        if line.strip():
            header.append(_Line(number, line.strip()))
    return header, max(len(lines), 1), ""


def _remedy_entries() -> str:
    return f"entries are {', '.join(f'`-- {name}:`' for name in _ENTRIES)}; lines under doc and columns are indented"
