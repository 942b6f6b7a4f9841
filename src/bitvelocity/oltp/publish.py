"""The publication: which tables' changes PostgreSQL sends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ..contracts.spec import EntitySpec
from .catalog import Catalog
from .ddl import qualified, quote
from .statements import load
from .steps import Refused, Step

PUBLICATION = "bitvelocity"
GENERATED_SINCE = 18


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication as it stands; without a row there is none of the name."""

    name: str
    row: dict[str, Any] | None
    others: list[tuple[str, str]]
    """Its tables (schema, name) that are no entity's, nor partitions of one."""


def read_publication(
    connection: psycopg.Connection[Any], catalog: Catalog, specs: Sequence[EntitySpec], name: str
) -> Publication:
    """The publication, and which of its tables no entity declares."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(load("state")["publication"].sql, {"publication": name}).fetchone()
    return Publication(name, row, _strays(row, catalog, specs) if row else [])


def publication_steps(
    found: Publication, catalog: Catalog, specs: Sequence[EntitySpec], *, major: int
) -> Iterator[Step | Refused]:
    """A publication of these tables, whole, through the root of partitioned ones.

    An adopted table whose updates could not be published is left out: in a publication they would fail for the
    application. Tables of no entity stay in it: another project may read them, or one of ours was renamed.
    """
    published = [spec for spec in specs if spec.managed or publishable(catalog, spec)]
    options = _options(published, major)
    tables = ", ".join(qualified(spec.schema, spec.table) for spec in published)
    name, row = found.name, found.row
    if row is None:
        if tables:
            yield Step(
                sql=f"create publication {quote(name)} for table {tables} with ({options})",
                reason="Change capture reads this publication; partitioned tables appear as one.",
            )
    elif row["puballtables"]:
        yield Refused(
            reason=f"The publication {name} is FOR ALL TABLES: updates of tables without a key fail for applications.",
            remedy=f"drop publication {quote(name)}; then apply again.",
        )
    else:
        wanted = {spec.qualified: qualified(spec.schema, spec.table) for spec in published}
        yield from _members(row, wanted, {f"{at}.{table}" for at, table in found.others}, name)
        if tables and not _has_options(row, options):
            yield Step(
                sql=f"alter publication {quote(name)} set ({options})",
                reason="All kinds of changes are published, partitioned tables as one.",
            )


def _members(row: dict[str, Any], wanted: dict[str, str], others: set[str], name: str) -> Iterator[Step]:
    """Take in what is missing, take out what cannot be published, and leave the tables of others as they are."""
    have = {f"{schema}.{table}": qualified(schema, table) for schema, table, _ in row["tables"]}
    partly = {f"{schema}.{table}" for schema, table, filtered in row["tables"] if filtered}
    out = [have[table] for table in sorted(have.keys() - others) if table not in wanted or table in partly]
    into = [text for table, text in wanted.items() if table not in have or table in partly]
    if len(out) == len(have) and not into:
        if have:
            yield Step(sql=f"drop publication {quote(name)}", reason="No table is left to publish.")
        return
    alter = f"alter publication {quote(name)}"
    changes = [f"{alter} {word} table {', '.join(names)}" for word, names in (("drop", out), ("add", into)) if names]
    if changes:
        yield Step(sql=";\n".join(changes), reason="The publication holds the tables of the entities, whole.")


def _strays(row: dict[str, Any], catalog: Catalog, specs: Sequence[EntitySpec]) -> list[tuple[str, str]]:
    ours = {spec.qualified for spec in specs}
    roots = {table.oid for spec in specs if (table := catalog.tables.get(spec.qualified))}
    found = []
    for schema, table, _ in row["tables"]:
        known = catalog.tables.get(f"{schema}.{table}")
        if f"{schema}.{table}" not in ours and not (known and known.root in roots):
            found.append((schema, table))
    return found


def publishable(catalog: Catalog, spec: EntitySpec) -> bool:
    """Its rows, in every partition, can be told apart in an update."""
    table = catalog.tables.get(spec.qualified)
    if table is None or table.kind not in "rp" or table.persistence != "p":
        return False
    parts = catalog.leaves(table) if table.kind == "p" else [table]
    return all(part.identified for part in parts)


def _options(specs: Sequence[EntitySpec], major: int) -> str:
    options = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true"
    if major >= GENERATED_SINCE and any(column.generated for spec in specs for column in spec.columns):
        options += ", publish_generated_columns = stored"
    return options


def _has_options(row: dict[str, Any], options: str) -> bool:
    generated = "publish_generated_columns" not in options or row["generated"] == "s"
    return bool(row["pubviaroot"] and row["complete"] and generated)
