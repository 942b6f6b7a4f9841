"""Models and silver proved to fit each other: every table, column and type is bound before a row is read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa

from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import ModelError
from bitvelocity.lakehouse.duck import open_duckdb
from bitvelocity.lakehouse.names import identifier

from .model import Model, read_model
from .silver import silver_schemas
from .syntax import Syntax, TableUse, read_syntax, volatile_functions

CHANGES = "_changes"
"""The log of a table has the table's name and this."""

_NAMED = re.compile(r'(?:column(?: named)?|with name) "?(?P<name>\w+)"?', re.IGNORECASE)


def load_models(folder: Path, specs: Iterable[EntitySpec]) -> tuple[Model, ...]:
    """The models of a folder, inputs before those that read them.

    Every mistake is a `ModelError` with file, line and remedy: unknown tables and columns, columns that are
    missing, undeclared or of another type, cycles, functions without a repeatable answer, anything but one
    SELECT.
    """
    specs = tuple(specs)
    keyless = frozenset(spec.name for spec in specs if not spec.key)
    return bind_models(
        [read_model(path) for path in sorted(folder.glob("*.sql"))], silver_schemas(specs), keyless
    )


def bind_models(
    models: Sequence[Model], silver: Mapping[str, pa.Schema], keyless: frozenset[str] = frozenset()
) -> tuple[Model, ...]:
    """As `load_models`, from models that were read and the schemas of silver.

    `keyless` are entities without a key: they have no silver table, and the error says so.
    """
    for model in models:
        if model.name.endswith(CHANGES):
            line = model.lines["model"]
            raise model.error(
                f"names that end in {CHANGES} belong to the logs of tables", line, "rename the model"
            )
    with open_duckdb({"threads": 1}) as connection:
        open_schemas(connection)
        create_silver(connection, silver)
        known = _Known(frozenset(silver), keyless, frozenset(model.name for model in models))
        volatile = volatile_functions(connection)
        parsed = [read_syntax(connection, model, volatile) for model in models]
        bound = [known.with_inputs(syntax) for syntax in parsed]
        ordered = in_order(bound)
        by_name = {syntax.model.name: syntax for syntax in parsed}
        for model in ordered:
            check_columns(model, _bind(connection, model, by_name[model.name]))
            create_gold(connection, model)
    return ordered


def open_schemas(connection: duckdb.DuckDBPyConnection) -> None:
    """An empty lake: UTC, the schemas `silver` and `gold`."""
    connection.execute("CREATE SCHEMA silver")
    connection.execute("CREATE SCHEMA gold")


def create_silver(connection: duckdb.DuckDBPyConnection, silver: Mapping[str, pa.Schema]) -> None:
    """An empty table for every entity."""
    for entity, schema in silver.items():
        connection.register("shape", schema.empty_table())
        connection.execute(f"CREATE TABLE {table_name('silver', entity)} AS SELECT * FROM shape")
        connection.unregister("shape")


def create_gold(connection: duckdb.DuckDBPyConnection, model: Model) -> None:
    """An empty table with the model's declared columns."""
    columns = ", ".join(f"{identifier(column.name)} {column.type.duckdb}" for column in model.columns)
    connection.execute(f"CREATE TABLE {table_name('gold', model.name)} ({columns})")


def table_name(schema: str, name: str) -> str:
    """A table with its schema: `"silver"."orders"`."""
    return f"{identifier(schema)}.{identifier(name)}"


def cast_select(model: Model, body: str | None = None) -> str:
    """The model's SELECT (or `body` in its place), its columns cast to their types, in declared order."""
    columns = ", ".join(
        f"CAST({identifier(column.name)} AS {column.type.duckdb}) AS {identifier(column.name)}"
        for column in model.columns
    )
    return f"SELECT {columns} FROM (\n{body or model.sql}\n)"


def in_order(models: Sequence[Model]) -> tuple[Model, ...]:
    """Inputs before readers, otherwise by name; a cycle is a `ModelError`."""
    by_name = {model.name: model for model in sorted(models, key=lambda model: model.name)}
    done: dict[str, Model] = {}

    def visit(model: Model, path: tuple[str, ...]) -> None:
        if model.name in path:
            ring = " → ".join([*path[path.index(model.name) :], model.name])
            raise model.error(
                f"models read each other in a circle: {ring}", model.lines["sql"], "break the circle"
            )
        if model.name in done:
            return
        for name in gold_inputs(model):
            visit(by_name[name], (*path, model.name))
        done[model.name] = model

    for model in by_name.values():
        visit(model, ())
    return tuple(done.values())


def gold_inputs(model: Model) -> tuple[str, ...]:
    """Names of the models that this one reads."""
    return tuple(table.removeprefix("gold.") for table in model.inputs if table.startswith("gold."))


def silver_inputs(model: Model) -> tuple[str, ...]:
    """Names of the entities that this model reads itself."""
    return tuple(table.removeprefix("silver.") for table in model.inputs if table.startswith("silver."))


class _Known:
    """The tables that models may read."""

    def __init__(self, silver: frozenset[str], keyless: frozenset[str], gold: frozenset[str]) -> None:
        self.tables = {"silver": silver, "gold": gold}
        self.keyless = keyless

    def with_inputs(self, syntax: Syntax) -> Model:
        """The model, its inputs filled in."""
        inputs: dict[str, None] = {}
        for use in syntax.tables():
            self._check(syntax.model, use)
            inputs[f"{use.schema}.{use.name}"] = None
        return replace(syntax.model, inputs=tuple(inputs))

    def _check(self, model: Model, use: TableUse) -> None:
        full = f"{use.schema}.{use.name}" if use.schema else use.name
        if use.schema == "bronze":
            raise model.error(
                f"{full} is bronze: events as they came, untyped",
                use.line,
                f"read silver.{use.name}, the typed state of the same entity",
            )
        if use.schema not in self.tables:
            raise model.error(f"{full} names no table of the lake", use.line, self._meant(use))
        if use.schema == "silver" and use.name in self.keyless:
            raise model.error(
                f"entity {use.name} has no key, so it has no silver table",
                use.line,
                "give the table a primary key",
            )
        if use.name not in self.tables[use.schema]:
            raise model.error(f"there is no table {full}", use.line, self._meant(use))

    def _meant(self, use: TableUse) -> str:
        names = sorted(f"{schema}.{name}" for schema, tables in self.tables.items() for name in tables)
        same = [name for name in names if name.split(".")[1] == use.name]
        near = same or difflib.get_close_matches(
            f"{use.schema or 'silver'}.{use.name}", names, n=2, cutoff=0.6
        )
        return f"write {' or '.join(near)}" if near else f"tables are {', '.join(names)}"


def _bind(connection: duckdb.DuckDBPyConnection, model: Model, syntax: Syntax) -> list[tuple[str, str]]:
    try:
        relation = connection.sql(model.sql)
        return [(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]
    except duckdb.Error as error:
        raise _binding_error(model, syntax, error) from error


def _binding_error(model: Model, syntax: Syntax, error: duckdb.Error) -> ModelError:
    text = str(error).split("\n\nLINE ", maxsplit=1)[0]
    first, *more = [part.strip() for part in text.split("\n") if part.strip()]
    named = _NAMED.search(first)
    line = syntax.find(named["name"]) if named else model.lines["sql"]
    what = first.split(": ", maxsplit=1)[-1]
    said = " ".join(more)
    if "Candidate bindings" in said:
        near = said.partition("bindings:")[2].strip(" :")
        return model.error(what, line, f"write a column that is there (near it: {near}), or keep it in its entity")
    return model.error(what, line, said or "correct the SQL; it is DuckDB's dialect")


def check_columns(model: Model, found: Sequence[tuple[str, str]]) -> None:
    """The SELECT gives the declared columns, each once, of types that fit."""
    sql_line = model.lines["sql"]
    types = dict(found)
    names = [name for name, _ in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise model.error(
            f"the SELECT gives {twice[0]} twice", sql_line, "give each column a name of its own"
        )
    for column in model.columns:
        if column.name not in types:
            raise model.error(
                f"column {column.name} is declared, but the SELECT does not give it",
                column.line,
                f"the SELECT gives {', '.join(names)}",
            )
        if not column.type.accepts(types[column.name]):
            raise model.error(
                f"column {column.name} is declared {column.type.text}, but the SELECT gives {types[column.name]}",
                column.line,
                f"declare what comes out, or write cast(... as {column.type.text}) to say that values may change",
            )
    if extra := [name for name in names if name not in model.column_names]:
        raise model.error(
            f"the SELECT gives {extra[0]}, which is not declared",
            sql_line,
            "declare it under `-- columns:`, or leave it out",
        )
