"""A declared table that is missing, beside a published one that nobody declares: most likely it was renamed.

Made anew, it would be empty, and the rows would be in a table that nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from ..contracts.spec import EntitySpec
from .catalog import Catalog, FoundTable, read_catalog
from .ddl import qualified, quote
from .publish import Publication
from .steps import Refused


def renamed_tables(
    connection: psycopg.Connection[Any], catalog: Catalog, specs: Sequence[EntitySpec], publication: Publication
) -> Iterator[Refused]:
    """Refuse what looks like a rename, on either side; say of other tables in the publication that they stay."""
    missing = [spec for spec in specs if spec.managed and spec.qualified not in catalog.tables]
    if missing and publication.others:
        catalog = read_catalog(connection, sorted({schema for schema, _ in publication.others}))
    for schema, name in publication.others:
        found = catalog.tables.get(f"{schema}.{name}")
        alike = [spec for spec in missing if found and _alike(spec, found)]
        yield from (_renamed(spec, schema, name, publication.name) for spec in alike)
        if not alike:
            yield _stays(schema, name, publication.name)


def _alike(spec: EntitySpec, found: FoundTable) -> bool:
    """It has the key, and most of the columns that are the entity's own."""
    own = [column.name for column in spec.columns if not column.audit]
    there = sum(name in found.by_name for name in own)
    return set(spec.key) <= found.by_name.keys() and there * 2 > len(own)


def _renamed(spec: EntitySpec, schema: str, name: str, publication: str) -> Refused:
    other, moved = qualified(schema, name), ""
    if schema != spec.schema:
        moved += f" alter table {other} set schema {quote(spec.schema)};"
    if name != spec.table:
        moved += f" alter table {qualified(spec.schema, name)} rename to {quote(spec.table)};"
    remedy = (
        f"Was the table renamed in the database, declare it: table={name!r}, schema={schema!r}, name={spec.name!r}."
        f" Is the entity to have a new name:{moved}"
        f" Are they two tables, and the old one is to be captured no more: alter publication {quote(publication)} drop table {other};"
    )
    return Refused(
        reason=f"{spec.qualified} is not in the database, but {schema}.{name} is, with its columns; it is published, and no"
        " entity declares it. A new, empty table would take its place.",
        remedy=remedy,
        entity=spec.name,
        blocks=True,
    )


def _stays(schema: str, name: str, publication: str) -> Refused:
    return Refused(
        reason=f"The publication {publication} also holds {schema}.{name}, which no entity here declares. It stays:"
        " another project may read it.",
        remedy=f"If none does: alter publication {quote(publication)} drop table {qualified(schema, name)};",
    )


__all__ = ["renamed_tables"]
