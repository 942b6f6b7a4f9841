"""The publication: what the server sends, and what publishing does to the application."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...contracts.spec import EntitySpec
from ..ddl import qualified, quote
from ..publish import GENERATED_SINCE, publishable
from .source import Row, Source
from .verdict import Check, bad, fine, warn

ALL_OPERATIONS = "publish = 'insert, update, delete, truncate'"
THROUGH_ROOT = "publish_via_partition_root = true"


def publication(source: Source) -> Iterator[Check]:
    name = quote(source.wanted.publication)
    found = source.rows("publication", publication=source.wanted.publication)
    if not found:
        yield _missing(source, name)
        return
    row = found[0]
    if row["puballtables"]:
        what = f"{name} is FOR ALL TABLES: in a table without a key, updates of the application fail"
        yield bad("publication", what, _made_anew(source, name))
        return
    tables = _set_table(source, name)
    faults = [*_schemas(row, name, tables), *_members(source, row, name), *_parts(source, row, name, tables)]
    faults += _shape(source, row, name)
    yield from faults
    if not any(check.state == "bad" for check in faults):
        yield fine("publication", f"{name} holds all {len(source.wanted.specs)} tables, whole")


def _missing(source: Source, name: str) -> Check:
    if source.wanted.begun:
        return bad("publication", f"there is no publication {name}: what is not published is not sent", "bitvelocity apply")
    return fine("publication", "none yet (bitvelocity up makes it)")


def _specs(source: Source) -> Sequence[EntitySpec]:
    """Entities whose tables can be published without harm."""
    return [spec for spec in source.wanted.specs if publishable(source.catalog, spec)]


def _names(source: Source) -> str:
    return ", ".join(qualified(spec.schema, spec.table) for spec in _specs(source))


def _set_table(source: Source, name: str) -> str:
    return f"alter publication {name} set table {_names(source)};"


def _made_anew(source: Source, name: str) -> str:
    """In one transaction: between the two, changes would be decoded for a publication that is not there."""
    made = f"create publication {name} for table {_names(source)} with ({ALL_OPERATIONS}, {THROUGH_ROOT})"
    return f"begin; drop publication {name}; {made}; commit;"


def _schemas(row: Row, name: str, tables: str) -> Iterator[Check]:
    if row["schemas"]:
        what = f"{name} holds all tables of {', '.join(row['schemas'])}: one made without a key later breaks its updates"
        yield warn("publication schemas", what, tables)


def _members(source: Source, row: Row, name: str) -> Iterator[Check]:
    listed = {table["name"] for table in row["tables"]}
    if row["schemas"]:
        listed |= {spec.qualified for spec in source.wanted.specs if spec.schema in row["schemas"]}
    there = {spec.qualified for spec in source.wanted.specs if source.table(spec)}
    if missing := sorted(there - listed):
        lacking = ", ".join(qualified(spec.schema, spec.table) for spec in _specs(source) if spec.qualified in missing)
        remedy = f"alter publication {name} add table {lacking};" if lacking else "Let their rows be told apart first: see replica identity."
        yield bad("publication", f"{name} lacks {', '.join(missing)}: their changes are not sent", remedy)
    roots = {table.oid for spec in source.wanted.specs if (table := source.table(spec))}
    surplus = sorted(t["name"] for t in row["tables"] if t["name"] not in there and t["root"] not in roots)
    if surplus:
        what = f"{name} also holds {', '.join(surplus)}, which no entity of this project reads: does another one share it?"
        gone = sorted(spec.qualified for spec in source.wanted.specs if not source.table(spec))
        yield warn("publication", what, _renamed(gone) if gone and source.wanted.begun else _left_out(row, name, surplus))


def _renamed(gone: Sequence[str]) -> str:
    """The changes of a table that was renamed are still captured: taken out of the publication, they would be lost."""
    return f"If one of them is {', '.join(gone)} under a new name, declare that: entities, table= and schema=, with name= as it is."


def _left_out(row: Row, name: str, surplus: Sequence[str]) -> str:
    """Only these: what else the publication holds stays, of other projects too."""
    others = ", ".join(qualified(table["schema"], table["table"]) for table in row["tables"] if table["name"] in surplus)
    return f"alter publication {name} drop table {others};"


def _parts(source: Source, row: Row, name: str, tables: str) -> Iterator[Check]:
    divided = [spec.qualified for spec in source.wanted.specs if (table := source.table(spec)) and table.kind == "p"]
    if divided and not row["pubviaroot"]:
        what = f"partitions come under their own names, so that nothing of {', '.join(divided)} is captured"
        yield bad("partition root", what, f"alter publication {name} set ({THROUGH_ROOT});")
    roots = {table.oid for spec in source.wanted.specs if (table := source.table(spec))}
    if leaves := sorted(t["name"] for t in row["tables"] if t["root"] in roots):
        yield bad("partition root", f"{name} holds the partition {', '.join(leaves)} by itself", tables)


def _shape(source: Source, row: Row, name: str) -> Iterator[Check]:
    """Rows, columns and operations that are left out."""
    if not row["complete"]:
        lacks = ", ".join(word for word in ("insert", "update", "delete", "truncate") if not row[f"pub{word}"])
        yield bad("publication operations", f"{name} does not send {lacks}", f"alter publication {name} set ({ALL_OPERATIONS});")
    tables = _set_table(source, name)
    for table in row["tables"]:
        if table["without_key"]:
            keys = ", ".join(table["without_key"])
            what = f"the column list of {table['name']} leaves out {keys}, by which its rows are known: its updates fail"
            yield bad("column list", what, tables)
        elif table["left_out"]:
            what = f"the column list of {table['name']} leaves out {', '.join(table['left_out'])}"
            yield bad("column list", what, tables)
        if table["filter"]:
            yield bad("row filter", f"of {table['name']} only rows are sent where {table['filter']}", tables)
    yield from _generated(source, row, name)


def _generated(source: Source, row: Row, name: str) -> Iterator[Check]:
    """PostgreSQL 18 refuses updates of a whole-row identity with a generated column that is not published."""
    if source.state.major < GENERATED_SINCE:
        return
    for spec in source.wanted.specs:
        table = source.table(spec)
        if table is None or table.replica_identity != "f":
            continue
        virtual = [column.name for column in table.columns if column.virtual]
        stored = [column.name for column in table.columns if column.generated is not None and not column.virtual]
        if virtual:
            what = f"{spec.qualified} has identity FULL and the virtual column {virtual[0]}: published, its updates fail"
            remedy = f"alter table {qualified(spec.schema, spec.table)} replica identity default;"
            yield bad("generated columns", what, remedy if table.key else "Give the table a primary key first.")
        elif stored and row["generated"] != "s":
            what = f"{spec.qualified} has identity FULL and the generated column {stored[0]}: published, its updates fail"
            yield bad("generated columns", what, f"alter publication {name} set (publish_generated_columns = stored);")


def strangers(source: Source) -> Iterator[Check]:
    """Publications of others that can break the application's updates."""
    for row in source.rows("strangers", publication=source.wanted.publication):
        who = "a leftover of Debezium" if row["pubname"].startswith("dbz_") else "not ours"
        what = f"{row['pubname']} ({who}) is FOR ALL TABLES: in a table without a key, updates of the application fail"
        yield warn("other publications", what, f"drop publication {quote(row['pubname'])};")
