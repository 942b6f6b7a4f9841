"""A model's SELECT taken apart: one block of joined tables, or the reason why it is more than that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.merge_subqueries import merge_subqueries
from sqlglot.optimizer.qualify import qualify

from bitvelocity.lakehouse.duck import open_duckdb

from .model import Model

DIALECT = "duckdb"

Schemas = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Schema -> table -> column -> DuckDB type, of everything that models may read."""


class NotOneBlockError(Exception):
    """The SELECT cannot be maintained group by group; the text says why, for the plan's reason."""


@dataclass(frozen=True)
class Source:
    """One table of the block: `optional` when it stands on the right of a left join (of any of its forms)."""

    alias: str
    table: str
    join: exp.Join | None
    """None for the first table of FROM."""

    @property
    def optional(self) -> bool:
        """Whether its columns may be NULL because nothing matched."""
        return self.join is not None and self.join.side == "LEFT"

    @cached_property
    def conditions(self) -> tuple[exp.Expr, ...]:
        """The parts of its join condition."""
        return conjuncts(self.join.args.get("on") if self.join is not None else None)

    @cached_property
    def needs(self) -> frozenset[str]:
        """Aliases of the other tables that its join condition reads."""
        return frozenset().union(*(aliases_in(condition) for condition in self.conditions)) - {self.alias}


@dataclass(frozen=True)
class Block:
    """One SELECT over plain tables, every column qualified by its table."""

    model: Model
    select: exp.Select
    sources: tuple[Source, ...]
    keys: tuple[exp.Expr, ...]
    """Expression of each key column, in the order of the model's key."""
    grouped: bool
    schemas: Schemas

    @cached_property
    def key_aliases(self) -> frozenset[str]:
        """Tables that the key depends on."""
        return frozenset().union(*(aliases_in(key) for key in self.keys))

    @cached_property
    def by_alias(self) -> dict[str, Source]:
        """The tables by the name that the SELECT gives them."""
        return {source.alias: source for source in self.sources}

    @cached_property
    def conditions(self) -> tuple[exp.Expr, ...]:
        """The parts of WHERE that are joined by AND."""
        where = self.select.args.get("where")
        return conjuncts(where.this if where else None)

    def reading(self, table: str) -> list[Source]:
        """Every place where a table is read."""
        return [source for source in self.sources if source.table == table]

    def dependents(self, alias: str) -> frozenset[str]:
        """The table itself and all whose join condition reads it, directly or through others."""
        found = {alias}
        for source in self.sources:
            if source.needs & found:
                found.add(source.alias)
        return frozenset(found)

    def columns_of(self, table: str) -> tuple[str, ...]:
        """Columns that the SELECT reads of a table, by the table's own spelling."""
        aliases = {source.alias for source in self.reading(table)}
        read = {column.name.lower() for column in self.select.find_all(exp.Column) if column.table in aliases}
        schema, name = table.split(".")
        return tuple(column for column in self.schemas[schema][name] if column.lower() in read)


def aliases_in(node: exp.Expr | None) -> frozenset[str]:
    """Aliases of the tables whose columns an expression reads."""
    return (
        frozenset(column.table for column in node.find_all(exp.Column)) if node is not None else frozenset()
    )


def conjuncts(condition: exp.Expr | None) -> tuple[exp.Expr, ...]:
    """The parts of a condition that are joined by AND."""
    if condition is None:
        return ()
    return tuple(condition.flatten()) if isinstance(condition, exp.And) else (condition,)


def columns_read(model: Model, schemas: Schemas) -> dict[str, frozenset[str]] | None:
    """Table -> columns that the model reads of it; None when that cannot be told."""
    try:
        tree = qualify(sqlglot.parse_one(model.sql, read=DIALECT), schema=_plain(schemas), dialect=DIALECT)
    except SqlglotError:
        return None
    used: dict[str, set[str]] = {table: set() for table in model.inputs}
    for select in tree.find_all(exp.Select):
        aliases = {source.alias_or_name: _name(source) for source in _tables(select)}
        for column in tree.find_all(exp.Column):
            if (table := aliases.get(column.table)) in used:
                used[table].add(column.name)
    return {table: frozenset(columns) for table, columns in used.items()}


def read_block(model: Model, schemas: Schemas) -> Block:
    """The block of a model; `NotOneBlockError` with the reason when it is none."""
    try:
        tree = qualify(sqlglot.parse_one(model.sql, read=DIALECT), schema=_plain(schemas), dialect=DIALECT)
        _check_optional_subqueries(tree)
        tree = merge_subqueries(tree)
    except SqlglotError as error:
        raise NotOneBlockError("the planner cannot read its SQL") from error
    if not isinstance(tree, exp.Select):
        raise NotOneBlockError("it combines several SELECTs (UNION, INTERSECT, EXCEPT)")
    tree.set("order", None)
    _check_shape(tree)
    sources = tuple(_sources(tree))
    outputs = {projection.alias_or_name: projection.unalias() for projection in tree.selects}
    keys = tuple(outputs[name] for name in model.key)
    grouped = _expand_groups(tree, keys)
    if not frozenset().union(*(aliases_in(key) for key in keys)):
        raise NotOneBlockError("its key is the same for all rows")
    return Block(model, tree, sources, keys, grouped, schemas)


def _plain(schemas: Schemas) -> dict[str, object]:
    return {
        schema: {table: dict(columns) for table, columns in tables.items()}
        for schema, tables in schemas.items()
    }


def _name(table: exp.Table) -> str:
    return f"{table.db}.{table.name}"


def _tables(select: exp.Select) -> Iterator[exp.Table]:
    first = select.args.get("from_")
    places = [first.this] if first else []
    places += [join.this for join in select.args.get("joins") or ()]
    return (place for place in places if isinstance(place, exp.Table))


def _check_optional_subqueries(tree: exp.Expr) -> None:
    """A computed column of an optional subquery is NULL where nothing matched; merged, it would not be."""
    with_ = {cte.alias: cte.this for cte in tree.find_all(exp.CTE)}
    for join in tree.find_all(exp.Join):
        inner = join.this.this if isinstance(join.this, exp.Subquery) else with_.get(join.this.name)
        if join.side == "LEFT" and isinstance(inner, exp.Select):
            columns = (projection.unalias() for projection in inner.selects)
            if not all(isinstance(column, exp.Column) for column in columns):
                raise NotOneBlockError("a subquery on the optional side of a left join computes columns")


_SHAPES: tuple[tuple[str, str], ...] = (
    ("with_", "it keeps a WITH part that cannot be merged into one SELECT"),
    ("limit", "LIMIT depends on all rows"),
    ("offset", "OFFSET depends on all rows"),
    ("laterals", "it joins laterally"),
    ("pivots", "it pivots"),
    ("qualify", "QUALIFY looks at other rows"),
)


def _check_shape(select: exp.Select) -> None:
    for part, reason in _SHAPES:
        if select.args.get(part):
            raise NotOneBlockError(reason)
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on"):
        raise NotOneBlockError("DISTINCT ON looks at other rows")
    if select.find(exp.Window):
        raise NotOneBlockError("a window function looks at other rows")
    if len(list(select.find_all(exp.Select))) > 1:
        raise NotOneBlockError("it has a subquery that cannot be merged into one SELECT")
    if select.find(exp.Unnest, exp.Explode, exp.Lateral):
        raise NotOneBlockError("it unnests rows")


def _sources(select: exp.Select) -> Iterator[Source]:
    first = select.args.get("from_")
    if first is None or not isinstance(first.this, exp.Table) or not first.this.db:
        raise NotOneBlockError("it does not start from a table of the lake")
    yield Source(first.this.alias_or_name, _name(first.this), None)
    for join in select.args.get("joins") or ():
        if join.side not in ("", "LEFT") or join.kind not in ("", "INNER", "OUTER", "CROSS") or join.method:
            name = " ".join(part for part in (join.method, join.side, join.kind) if part)
            raise NotOneBlockError(f"a {name} JOIN cannot be followed from one side")
        if not isinstance(join.this, exp.Table) or not join.this.db:
            raise NotOneBlockError("it joins something that is no table of the lake")
        yield Source(join.this.alias_or_name, _name(join.this), join)


def _expand_groups(select: exp.Select, keys: tuple[exp.Expr, ...]) -> bool:
    """Whether the block is grouped; GROUP BY ALL is written out."""
    group = select.args.get("group")
    if group is None:
        if any(_aggregates(projection) for projection in select.selects):
            raise NotOneBlockError("it is one total over all rows")
        return False
    if group.find(exp.Rollup, exp.Cube, exp.GroupingSets):
        raise NotOneBlockError("it groups in several ways at once")
    if group.args.get("all"):
        plain = [projection.unalias() for projection in select.selects if not _aggregates(projection)]
        group = exp.Group(expressions=[part.copy() for part in plain if aliases_in(part)])
        select.set("group", group)
    for key in keys:
        if aliases_in(key) and key not in group.expressions:
            raise NotOneBlockError(f"its key is not among what it groups by: {key.sql(DIALECT)}")
    return True


def _aggregates(node: exp.Expr) -> bool:
    names = (function.name.lower() for function in node.find_all(exp.Anonymous))
    return node.find(exp.AggFunc) is not None or not aggregate_functions().isdisjoint(names)


@cache
def aggregate_functions() -> frozenset[str]:
    """Names of all aggregates that DuckDB knows; the parser of the planner does not know them all."""
    with open_duckdb({"threads": 1}) as connection:
        rows = connection.execute(
            "SELECT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        )
        return frozenset(name.lower() for (name,) in rows.fetchall())
