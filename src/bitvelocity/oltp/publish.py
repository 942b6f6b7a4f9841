"""The publication: which tables' changes PostgreSQL sends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def publication_steps(
    connection: psycopg.Connection[Any], catalog: Catalog, specs: Sequence[EntitySpec], *, name: str, major: int
) -> Iterator[Step | Refused]:
    """A publication of exactly these tables, through the root of partitioned ones.

    An adopted table whose updates could not be published is left out: in a publication they would fail for the
    application.
    """
    published = [spec for spec in specs if spec.managed or publishable(catalog, spec)]
    options = _options(published, major)
    tables = ", ".join(qualified(spec.schema, spec.table) for spec in published)
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(load("state")["publication"].sql, {"publication": name}).fetchone()
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
        if set(row["tables"] or ()) != {spec.qualified for spec in published} or row["filtered"]:
            sql = f"alter publication {quote(name)} set table {tables}" if tables else f"drop publication {quote(name)}"
            yield Step(sql=sql, reason="The publication holds the tables of the entities, whole.")
        if tables and not _has_options(row, options):
            yield Step(
                sql=f"alter publication {quote(name)} set ({options})",
                reason="All kinds of changes are published, partitioned tables as one.",
            )


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
