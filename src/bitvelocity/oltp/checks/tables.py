"""The tables: are they there, can their rows be told apart in an update, does the WAL have them."""

from __future__ import annotations

from collections.abc import Iterator

from ...contracts.spec import EntitySpec
from ..catalog import FoundTable
from ..ddl import qualified, quote
from ..partitions import rows_in_default
from .source import Source
from .verdict import Check, bad, fine, warn

NO_CHANGES = {
    "v": "is a view: it has no changes of its own",
    "m": "is a materialized view: it has no changes of its own",
    "f": "is a foreign table: its changes happen in another database",
}


def tables(source: Source) -> Iterator[Check]:
    found = [check for spec in source.wanted.specs for check in _table(source, spec)]
    yield from found
    if not any(check.state == "bad" for check in found):
        count = sum(source.table(spec) is not None for spec in source.wanted.specs)
        yield fine("tables", f"{count} tables are there, and their rows can be told apart")


def _table(source: Source, spec: EntitySpec) -> Iterator[Check]:
    table = source.table(spec)
    if table is None:
        yield _absent(source, spec)
        return
    name = qualified(spec.schema, spec.table)
    if table.kind in NO_CHANGES:
        remedy = f"Take the entity {spec.name} out of the project; capture the tables under it, and write it as a model."
        yield bad("table kind", f"{spec.qualified} {NO_CHANGES[table.kind]}", remedy)
        return
    parts = source.catalog.leaves(table) if table.kind == "p" else [table]
    yield from _logged(spec, [table, *parts] if table.kind == "p" else parts)
    yield from _identity(source, parts)
    if table.inherited:
        for child in source.rows("children", table=table.oid):
            what = f"rows of {child['nspname']}.{child['relname']}, which inherits from it, are not captured with {spec.qualified}"
            remedy = f"alter table {qualified(child['nspname'], child['relname'])} no inherit {name};"
            yield warn("inheritance", what, remedy)


def _absent(source: Source, spec: EntitySpec) -> Check:
    if spec.managed and not source.wanted.begun:
        return fine("table", f"{spec.qualified} is not there yet (bitvelocity up makes it)")
    again = "If it was renamed, declare its new name (table=, with name= as it is); else make it anew, empty: bitvelocity apply"
    remedy = again if spec.managed else "Remove the entity, or create the table; declare its new name if it was renamed."
    return bad("table", f"{spec.qualified} is not in the database", remedy)


def _logged(spec: EntitySpec, parts: list[FoundTable]) -> Iterator[Check]:
    for part in parts:
        if part.persistence == "u":
            remedy = f"alter table {qualified(part.schema, part.name)} set logged;"
            yield bad("unlogged table", f"{part.qualified} is unlogged: its changes are not in the WAL", remedy)
        elif part.persistence == "t":
            yield bad("temporary table", f"{part.qualified} is temporary", f"Take the entity {spec.name} out of the project.")
        elif part.kind == "f":
            what = f"the partition {part.qualified} of {spec.qualified} is a foreign table: its changes are not captured"
            root = qualified(spec.schema, spec.table)
            yield bad("foreign partition", what, f"alter table {root} detach partition {qualified(part.schema, part.name)};")


def _identity(source: Source, parts: list[FoundTable]) -> Iterator[Check]:
    """Published without one, UPDATE and DELETE fail for the application: of a leaf, its own counts."""
    lacking = [part for part in parts if part.kind == "r" and not part.identified]
    if lacking:
        which = ", ".join(part.qualified for part in lacking)
        what = f"rows of {which} cannot be told apart: published, updates of the application fail"
        yield bad("replica identity", what, " ".join(_identify(source, part) for part in lacking))


def _identify(source: Source, table: FoundTable) -> str:
    name = qualified(table.schema, table.name)
    if any(found.kind == "p" and not found.deferrable for found in table.constraints):
        return f"alter table {name} replica identity default;"
    usable = source.rows("identities", table=table.oid)
    if usable:
        return f"alter table {name} replica identity using index {quote(usable[0]['relname'])};"
    return f"alter table {name} replica identity full;"


def default_partitions(source: Source) -> Iterator[Check]:
    for spec in source.wanted.specs:
        default = f"{spec.qualified}_default"
        if not spec.managed or spec.partition is None or default not in source.catalog.tables:
            continue
        if rows_in_default(source.connection, spec):
            name = qualified(spec.schema, f"{spec.table}_default")
            what = f"{name} has rows: they fell outside all ranges, and stay there"
            yield warn("partitions", what, "Make partitions before such rows come: ensure_partitions(since=...).")
