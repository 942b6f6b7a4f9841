"""What a model's SQL says, as DuckDB's own parser reads it: tables, functions, and where they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from .model import Model

SAFE_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest"})
_CLOCK_WORDS = frozenset(
    {
        "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "current_user", "user",
        "session_user", "current_role",
    }
)  # fmt: skip
_IN_ORDER = frozenset(
    {"first", "last", "list", "array_agg", "string_agg", "group_concat", "listagg", "json_group_array"}
)

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableUse:
    """A table in a FROM clause. `schema` is empty when none was written."""

    schema: str
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Syntax:
    """The parsed form of a model's SELECT."""

    model: Model
    node: Node

    def tables(self) -> list[TableUse]:
        """Every table read, without the names that the SELECT defines itself (WITH)."""
        own = {
            entry["key"].lower()
            for node in walk(self.node)
            for entry in (node.get("cte_map") or {}).get("map", ())
        }
        uses = (
            TableUse(node["schema_name"].lower(), node["table_name"].lower(), self.line(node))
            for node in walk(self.node)
            if node.get("type") == "BASE_TABLE"
        )
        return [use for use in uses if use.schema or use.name not in own]

    def line(self, node: Node) -> int:
        """Line of the file on which a node stands."""
        return line_at(self.model, node.get("query_location", 0))

    def find(self, name: str) -> int:
        """Line of the first column, function or table of that name; the SQL's first line when there is none."""
        for node in walk(self.node):
            named = [*node.get("column_names", ())[-1:], node.get("function_name"), node.get("table_name")]
            if name.lower() in (str(part).lower() for part in named if part):
                return self.line(node)
        return self.model.lines["sql"]


def walk(node: Any) -> Iterator[Node]:
    """Every JSON object of the tree, outer ones first."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def line_at(model: Model, offset: int) -> int:
    """Line of the file for an offset into the SQL, in bytes."""
    sql = model.sql.encode()
    return model.lines["sql"] + (sql[:offset].count(b"\n") if 0 <= offset <= len(sql) else 0)


def read_syntax(connection: duckdb.DuckDBPyConnection, model: Model, volatile: frozenset[str]) -> Syntax:
    """The parsed SELECT; a `ModelError` when the SQL is anything else, or no answer that can be repeated.

    `volatile` are the functions to refuse, see `volatile_functions`.
    """
    row = connection.execute("SELECT json_serialize_sql($1)", [model.sql]).fetchone()
    tree: Node = json.loads(row[0]) if row else {}
    if tree.get("error"):
        raise _not_a_select(model, tree)
    if len(tree["statements"]) != 1:
        raise model.error("there is more than one statement", model.lines["sql"], "a model is one SELECT")
    syntax = Syntax(model, tree["statements"][0]["node"])
    for node in walk(syntax.node):
        _refuse(syntax, node, volatile)
    return syntax


def _not_a_select(model: Model, tree: Node) -> Exception:
    line = line_at(model, int(tree.get("position") or 0))
    if tree.get("error_type") == "parser":
        return model.error(tree["error_message"], line, "correct the SQL; it is DuckDB's dialect")
    return model.error("the SQL is no SELECT", line, "a model is one SELECT, which may begin with WITH")


def _refuse(syntax: Syntax, node: Node, volatile: frozenset[str]) -> None:
    model, line = syntax.model, syntax.line(node)
    kind = node.get("type")
    if node.get("sample"):
        raise model.error("a sample is another one at each run", line, "choose rows by a condition")
    if kind == "TABLE_FUNCTION":
        name = node["function"]["function_name"]
        if name.lower() not in SAFE_TABLE_FUNCTIONS:
            raise model.error(
                f"a model reads tables of the lake only, not {name}()", line, "read silver or gold"
            )
    if kind == "SHOW_REF":
        raise model.error("the SQL is no SELECT", line, "a model is one SELECT")
    if (
        kind == "COLUMN_REF"
        and node["column_names"][-1].lower() in _CLOCK_WORDS
        and len(node["column_names"]) == 1
    ):
        raise _another_answer(model, node["column_names"][-1].lower(), line)
    name = str(node.get("function_name", "")).lower()
    if name in volatile or (name == "age" and len(node["arguments"]) == 1):  # the age today
        raise _another_answer(model, f"{name}()", line)
    if name in _IN_ORDER and not node["order_bys"]["orders"]:
        raise model.error(
            f"{name}() without ORDER BY depends on the order of the rows, which a table has not",
            line,
            f"write {name}(... order by ...), or any_value() when all values of the group are equal",
        )


def _another_answer(model: Model, name: str, line: int) -> Exception:
    return model.error(
        f"{name} gives another answer at each run, so gold could not be proved",
        line,
        "take the time or the identity from a column, `_committed_at` for example",
    )


def volatile_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Names of the functions that DuckDB itself does not call consistent.

    Since 2.0.1 it says so too of what asks for the session's time zone (`strftime` of a timestamptz), but not for
    every type of argument; such a function is consistent here, where every session is in UTC.
    """
    rows = connection.execute(
        "SELECT lower(function_name) FROM duckdb_functions() WHERE stability IS NOT NULL GROUP BY ALL "
        "HAVING bool_or(stability = 'VOLATILE') OR bool_and(stability = 'CONSISTENT_WITHIN_QUERY')"
    ).fetchall()
    return frozenset(name for (name,) in rows)
