"""Changes of a living table that take time: each in steps of its own that keep readers and writers at work.

| change | way |
|---|---|
| index | CREATE INDEX CONCURRENTLY; of a partitioned table ON ONLY the root, then each leaf, then attached |
| check, foreign key | added NOT VALID (holds for new rows at once), then validated beside the traffic |
| NOT NULL | proved by such a check first, so that SET NOT NULL need not look |
| unique | a unique index made concurrently becomes the constraint |

A step that was interrupted leaves an invalid index or constraint; the next plan finishes or replaces it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from alembic.operations.ops import CreateCheckConstraintOp, CreateForeignKeyOp, CreateUniqueConstraintOp

from ..contracts.names import LONGEST_NAME, constraint_name
from ..contracts.spec import Index
from .catalog import Catalog, FoundIndex, FoundTable
from .ddl import CreateIndexOnOnly, compiled, qualified, quote, rendered
from .shadow import Wanted, typed_metadata
from .steps import Step


def after_steps(want: Wanted, catalog: Catalog) -> Iterator[Step]:
    """The slow steps of one table that exists; a new one has it all from the start."""
    found = catalog.tables.get(want.spec.qualified)
    if found is None or found.kind not in "rp":
        return
    yield from _checks(want, found)
    yield from _not_null(want, found)
    yield from _unique(want, found)
    yield from _references(want, found)
    for index in want.spec.indexes:
        if found.kind == "p":
            yield from _partitioned_index(want, found, catalog, index=index)
        else:
            yield from _index(want, found, index)


def _checks(want: Wanted, found: FoundTable) -> Iterator[Step]:
    have = {check.name: check for check in found.constraints if check.kind == "c"}
    wanted = {check.name: check for check in want.shape.constraints if check.kind == "c"}
    ours = constraint_name("ck", want.spec.table, "")
    for name in have:
        if name not in wanted and name.startswith(ours):
            yield _step(want, f"alter table {_name(want)} drop constraint {quote(name)}", f"The rule {name} is gone.")
    for name, check in wanted.items():
        old = have.get(name)
        if old and _plain(old.definition) == check.definition:
            if not old.validated:
                yield _validate(want, name)
            continue
        drop = f"alter table {_name(want)} drop constraint {quote(name)};\n" if old else ""
        constraint = _constraint(want.table, name)
        constraint.dialect_options["postgresql"]["not_valid"] = True
        yield _step(want, drop + rendered(CreateCheckConstraintOp.from_constraint(constraint)), f"New rule {name}.")
        yield _validate(want, name)


def _not_null(want: Wanted, found: FoundTable) -> Iterator[Step]:
    for column in want.shape.columns:
        have = found.by_name.get(column.name)
        if have is None or column.nullable or not have.nullable:
            continue
        proof = quote(constraint_name("ck", want.spec.table, column.name, "proof"))
        alter, name = f"alter table {_name(want)}", quote(column.name)
        yield _step(
            want,
            f"{alter} drop constraint if exists {proof};\n"
            f"{alter} add constraint {proof} check ({name} is not null) not valid",
            f"{column.name} is never NULL: new rows first.",
        )
        yield _step(want, f"{alter} validate constraint {proof}", f"{column.name} is never NULL: the rows that are there.")
        yield _step(
            want,
            f"{alter} alter column {name} set not null;\n{alter} drop constraint {proof}",
            f"{column.name} is never NULL.",
        )


def _unique(want: Wanted, found: FoundTable) -> Iterator[Step]:
    have = {constraint.columns for constraint in found.constraints if constraint.kind == "u"}
    for columns in want.spec.unique:
        if columns in have:
            continue
        name = constraint_name("uq", want.spec.table, *columns)
        if found.kind == "p":
            constraint: Any = _constraint(want.table, name)
            yield _step(want, rendered(CreateUniqueConstraintOp.from_constraint(constraint)), f"Unique {name}.")
            continue
        index = Index(name=name, columns=tuple(quote(column) for column in columns), unique=True)
        yield from _index(want, found, index)
        yield _step(
            want, f"alter table {_name(want)} add constraint {quote(name)} unique using index {quote(name)}", f"Unique {name}."
        )


def _references(want: Wanted, found: FoundTable) -> Iterator[Step]:
    have = {(k.columns, k.to, k.to_columns, k.on_delete): k for k in found.constraints if k.kind == "f"}
    for key in want.table.foreign_key_constraints:
        target = key.referred_table
        columns = tuple(key.column_keys)
        to_columns = tuple(element.column.name for element in key.elements)
        on_delete = (key.ondelete or "no action").lower()
        old = have.get((columns, f"{target.schema}.{target.name}", to_columns, on_delete))  # type: ignore[arg-type]
        if old:
            if not old.validated:
                yield _validate(want, old.name)
            continue
        name = str(key.name)
        stale = any(constraint.name == name for constraint in found.constraints)
        drop = f"alter table {_name(want)} drop constraint {quote(name)};\n" if stale else ""
        if found.kind == "r":
            key.dialect_options["postgresql"]["not_valid"] = True
        sql = drop + rendered(CreateForeignKeyOp.from_constraint(key))
        yield _step(want, sql, f"Reference to {target.schema}.{target.name}.")
        if found.kind == "r":
            yield _validate(want, name)


def _index(want: Wanted, found: FoundTable, index: Index) -> Iterator[Step]:
    have = _found_index(found, index.name)
    shape = _found_index(want.shape, index.name)
    if have and have.valid and shape and have.shape == shape.shape:
        return
    if have:
        yield _drop_index(want, found.schema, index.name)
    made = _on(want, found, replace(index, name=index.name))
    undo = f"drop index concurrently if exists {qualified(found.schema, index.name)}"
    yield replace(_step(want, _concurrently(made), f"Index {index.name}, made beside the traffic."), undo=undo)


def _partitioned_index(want: Wanted, found: FoundTable, catalog: Catalog, *, index: Index) -> Iterator[Step]:
    have = _found_index(found, index.name)
    shape = _found_index(want.shape, index.name)
    if have and shape and have.shape != shape.shape:
        yield _step(want, f"drop index {qualified(found.schema, index.name)}", f"Index {index.name} has changed.")
        have = None
    if have and have.valid:
        return
    if have is None:
        yield _step(want, compiled(CreateIndexOnOnly(_on(want, found, index))), f"Index {index.name}, still empty.")
    for leaf in catalog.leaves(found):
        if have and any(part.parent == have.oid for part in leaf.indexes):
            continue
        yield from _leaf_index(want, leaf, index)


def _leaf_index(want: Wanted, leaf: FoundTable, index: Index) -> Iterator[Step]:
    name = _leaf_name(leaf.name, index.name)
    if _found_index(leaf, name):  # left by a run that was interrupted
        yield _drop_index(want, leaf.schema, name)
    made = _on(want, leaf, replace(index, name=name))
    yield _step(want, _concurrently(made), f"Index {index.name} of the partition {leaf.name}.")
    yield _step(
        want,
        f"alter index {qualified(want.spec.schema, index.name)} attach partition {qualified(leaf.schema, name)}",
        f"Index {index.name} takes the partition {leaf.name}.",
    )


def _on(want: Wanted, table: FoundTable, index: Index) -> sa.Index:
    """The index on this table, which may be a leaf of the declared one."""
    alike = replace(
        want.spec, table=table.name, schema=table.schema, partition=None, references=(), indexes=(index,), unique=()
    )
    (made,) = typed_metadata([alike]).tables.values()
    (only,) = made.indexes
    return only


def _concurrently(index: sa.Index) -> str:
    index.dialect_options["postgresql"]["concurrently"] = True
    return compiled(sa.schema.CreateIndex(index))


def _drop_index(want: Wanted, schema: str, name: str) -> Step:
    return _step(want, f"drop index concurrently {qualified(schema, name)}", f"Index {name} is not as declared.")


def _validate(want: Wanted, name: str) -> Step:
    return _step(
        want, f"alter table {_name(want)} validate constraint {quote(name)}", f"The rows that are there keep to {name}."
    )


def _constraint(table: sa.Table, name: str) -> Any:
    return next(constraint for constraint in table.constraints if constraint.name == name)


def _found_index(table: FoundTable, name: str) -> FoundIndex | None:
    return next((index for index in table.indexes if index.name == name), None)


def _leaf_name(leaf: str, index: str) -> str:
    name = f"{leaf}_{index}"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST_NAME - len(mark) - 1].decode(errors="ignore") + "_" + mark


def _plain(definition: str) -> str:
    return definition.removesuffix(" NOT VALID")


def _name(want: Wanted) -> str:
    return qualified(want.spec.schema, want.spec.table)


def _step(want: Wanted, sql: str, reason: str) -> Step:
    return Step(sql=sql, reason=reason, entity=want.spec.name, alone=True)
