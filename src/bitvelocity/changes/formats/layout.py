"""What a record's value consists of, in the order of its schema's fields, for notations that write column by column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import polars as pl

from .debezium import envelope_schema, events
from .notation import Rows
from .options import Options
from .own import own_events, own_schema
from .plan import Plan
from .rows import sources
from .unwrapped import added, unwrapped_events, unwrapped_schema

Node: TypeAlias = "pl.Series | int | str | Sequence[Node] | None"
"""A field's value: one for each row (numbers, text, JSON of arrays, or an image that is written already), the same for
all rows, or the fields of a record."""

Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """`found` are the events, with their `key`; `value_schema` is Connect's, parsed, and `nodes` are its fields' values."""

    found: pl.DataFrame
    value_schema: Schema
    nodes: Sequence[Node]
    flat: bool = False
    """The first node is an image that holds the first fields; one node stands for each of the rest."""


@lru_cache(maxsize=1024)
def parsed(schema: str) -> Schema:
    """A schema as the JSON converter writes it."""
    found: Schema = json.loads(schema)
    return found


def value_schema(form: str, plan: Plan, options: Options) -> Schema:
    """The schema of the values of a format."""
    if form == "debezium":
        return parsed(envelope_schema(plan))
    if form == "bitvelocity":
        return parsed(own_schema(plan))
    rewrites = options.delete_tombstone_handling_mode.startswith("rewrite")
    return parsed(unwrapped_schema(plan, added(options.add_fields, options.add_fields_prefix), rewrites=rewrites))


def layout_of(rows: Rows) -> Layout:
    """The records of one batch in any of the three formats."""
    return {"debezium": _debezium, "debezium-unwrapped": _unwrapped, "bitvelocity": _own}[rows.form](rows)


def _debezium(rows: Rows) -> Layout:
    found, ns = events(rows.frame, rows.options), rows.moment.ns
    nodes: list[Node] = [
        found["before"], found["after"], _source(found, rows), _transaction(found), found["kind"],
        ns // 1_000_000, ns // 1000, ns,
    ]  # fmt: skip
    return Layout(found, value_schema(rows.form, rows.plan, rows.options), nodes)


def _source(found: pl.DataFrame, rows: Rows) -> list[Node]:
    at = found["at"].fill_null(0)
    schema, _, table = rows.plan.relation.partition(".")
    xid = found.select(v=pl.when(pl.col("tx") != "null").then("xid").cast(pl.Int64))["v"]
    sequence = found["sequence"].str.strip_chars('"').str.replace_all('\\"', '"', literal=True)
    return [
        rows.options.version, "postgresql", rows.options.topic_prefix, at // 1000, _constant(found["snapshot"]), rows.database,
        sequence, at, at * 1000, schema, table, xid, found["row_lsn"].cast(pl.Int64), None, None, None,
    ]  # fmt: skip


def _constant(values: pl.Series) -> pl.Series | str:
    """The one value that all rows have, if it is so."""
    return str(values[0]) if len(values) and values.n_unique() == 1 else values


def _transaction(found: pl.DataFrame) -> Node:
    told = found["transaction"]
    if told.null_count() == len(told):
        return None
    kind = pl.Struct({"id": pl.String, "total_order": pl.Int64, "data_collection_order": pl.Int64})
    return told.str.json_decode(kind)


def _unwrapped(rows: Rows) -> Layout:
    """The row comes first, written already; what is added stands behind it."""
    found, options = unwrapped_events(rows.frame, rows.options), rows.options
    rewrites = options.delete_tombstone_handling_mode.startswith("rewrite")
    fields = added(options.add_fields, options.add_fields_prefix)
    if fields:
        schema, _, table = rows.plan.relation.partition(".")
        source = sources(found, (schema, table), options=options, database=rows.database)
        found = found.with_columns(source=source)
    nodes: list[Node] = [found["row_image"]]
    if rewrites:
        nodes.append(found["deleted"])
    for one in fields:
        text = one.value(found, rows.moment).replace("null", None)
        is_number = parsed(one.schema())["type"] == "int64"
        nodes.append(
            text.cast(pl.Int64)
            if is_number
            else text.str.strip_chars('"').str.replace_all('\\"', '"', literal=True)
        )
    return Layout(found, value_schema(rows.form, rows.plan, options), nodes, flat=True)


def _own(rows: Rows) -> Layout:
    found = own_events(rows.frame, rows.options)
    metadata: list[Node] = [
        found["word"], rows.plan.relation, found["clock"], found["xid"].cast(pl.Int64), found["hex"], found["position"],
        found["absent"].cast(pl.String).fill_null("[]"),
    ]  # fmt: skip
    who: list[Node] = [found[name].cast(pl.String) for name in ("user", "correlation", "said")]
    return Layout(found, value_schema(rows.form, rows.plan, rows.options), [found["payload"], found["was"], metadata, who])


__all__ = ["Layout", "Node", "Schema", "layout_of", "parsed", "value_schema"]
