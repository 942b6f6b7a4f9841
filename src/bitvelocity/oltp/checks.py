"""What must be right in the source for change capture, one line each, with the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ..contracts.spec import EntitySpec
from ..errors import DatabaseError
from .adopt import prepare_remedy
from .binaries import OLDEST
from .catalog import Catalog, read_catalog
from .connect import connect, describe
from .ddl import qualified, quote
from .house import State, read_state
from .partitions import rows_in_default
from .publish import PUBLICATION, publishable
from .statements import load

ENOUGH_DISK = 2 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    what: str
    remedy: str | None


@dataclass(frozen=True, slots=True)
class _Source:
    connection: psycopg.Connection[Any]
    state: State
    facts: dict[str, Any]
    catalog: Catalog
    specs: Sequence[EntitySpec]
    publication: str


def check(dsn: str, specs: Sequence[EntitySpec], *, publication: str = PUBLICATION) -> list[Check]:
    """Look at everything that capture needs from the source. Changes nothing."""
    try:
        connection = connect(dsn)
    except DatabaseError as error:
        return [Check("connection", ok=False, what=error.what, remedy=error.remedy)]
    with connection:
        connection.read_only = True
        with connection.cursor(row_factory=dict_row) as cursor:
            facts = cursor.execute(load("checks")["facts"].sql).fetchone() or {}
        catalog = read_catalog(connection, sorted({spec.schema for spec in specs}))
        source = _Source(connection, read_state(connection), facts, catalog, specs, publication)
        first = Check("connection", ok=True, what=f"{describe(dsn)} answers", remedy=None)
        return [first, *(found for look in _CHECKS for found in look(source))]


def _version(source: _Source) -> Iterator[Check]:
    ok = source.state.major >= OLDEST
    yield Check("version", ok, f"PostgreSQL {source.facts['version']}", None if ok else f"Upgrade to {OLDEST} or newer.")


def _wal_level(source: _Source) -> Iterator[Check]:
    ok = source.state.wal_level == "logical"
    remedy = "alter system set wal_level = logical; then restart the server."
    yield Check("wal_level", ok, f"wal_level is {source.state.wal_level}", None if ok else remedy)


def _privilege(source: _Source) -> Iterator[Check]:
    ok, role = source.state.may_replicate, source.state.role
    what = f"{role} may read the change stream" if ok else f"{role} may not read the change stream"
    yield Check("replication privilege", ok, what, None if ok else f"alter role {quote(role)} replication;")


def _room(source: _Source) -> Iterator[Check]:
    for what, setting in (("slots", "max_replication_slots"), ("senders", "max_wal_senders")):
        used, most = source.facts[what], source.facts[f"max_{what}"]
        ok = used < most
        remedy = f"alter system set {setting} = {most + 10}; then restart, or drop what is not used."
        yield Check(setting, ok, f"{used} of {most} in use", None if ok else remedy)


def _publication(source: _Source) -> Iterator[Check]:
    with source.connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(load("state")["publication"].sql, {"publication": source.publication}).fetchone()
    name = quote(source.publication)
    if row is None:
        yield Check("publication", ok=False, what=f"there is no publication {name}", remedy="bitvelocity apply")
        return
    if row["puballtables"]:
        remedy = f"drop publication {name}; then: bitvelocity apply"
        yield Check("publication", ok=False, what=f"{name} is FOR ALL TABLES", remedy=remedy)
        return
    missing = sorted({spec.qualified for spec in source.specs} - set(row["tables"] or ()))
    what = f"{name} lacks {', '.join(missing)}" if missing else f"{name} holds all {len(source.specs)} tables"
    yield Check("publication", not missing, what, "bitvelocity apply" if missing else None)
    if not row["pubviaroot"]:
        remedy = f"alter publication {name} set (publish_via_partition_root = true);"
        yield Check("partition root", ok=False, what="partitions are published under their own names", remedy=remedy)
    if not row["complete"] or row["filtered"]:
        yield Check("publication", ok=False, what=f"{name} leaves out rows, columns or operations", remedy="bitvelocity apply")


def _tables(source: _Source) -> Iterator[Check]:
    wrong = 0
    for spec in source.specs:
        table = source.catalog.tables.get(spec.qualified)
        if table is None:
            wrong += 1
            remedy = "bitvelocity apply" if spec.managed else "Remove the entity, or create the table."
            yield Check("table", ok=False, what=f"{spec.qualified} is not in the database", remedy=remedy)
        elif not publishable(source.catalog, spec):
            wrong += 1
            yield Check(
                "replica identity", ok=False, what=f"updates of {spec.qualified} cannot be published",
                remedy=prepare_remedy(table, source.catalog),
            )  # fmt: skip
        elif table.row_security and not source.facts["sees_all_rows"]:
            wrong += 1
            yield Check(
                "row security", ok=False, what=f"{spec.qualified} has row security: a snapshot would miss rows",
                remedy=f"alter role {quote(source.state.role)} bypassrls;",
            )  # fmt: skip
    if not wrong:
        yield Check("tables", ok=True, what=f"{len(source.specs)} tables are there, and their rows can be told apart", remedy=None)


def _default_partitions(source: _Source) -> Iterator[Check]:
    for spec in source.specs:
        if not spec.managed or spec.partition is None or f"{spec.qualified}_default" not in source.catalog.tables:
            continue
        if rows_in_default(source.connection, spec):
            name = qualified(spec.schema, f"{spec.table}_default")
            yield Check(
                "partitions", ok=True, what=f"{name} has rows: they fell outside all ranges, and stay there",
                remedy="Make partitions before such rows come: ensure_partitions(since=...).",
            )  # fmt: skip


def _keep_size(source: _Source) -> Iterator[Check]:
    size = source.facts["keep_size"]
    ok = size is not None and size >= 0
    what = f"a slot holds back at most {size >> 30} GB of WAL" if ok else "a slot that is not read can fill the disk"
    remedy = "alter system set max_slot_wal_keep_size = '16GB'; select pg_reload_conf();"
    yield Check("max_slot_wal_keep_size", ok, what, None if ok else remedy)


def _disk(source: _Source) -> Iterator[Check]:
    folder = source.facts["data_directory"]
    if not folder or not source.facts["local"]:
        return
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # not our machine, or not ours to look at
    ok = free > ENOUGH_DISK
    yield Check("disk", ok, f"{free >> 30} GB free under the data", None if ok else "Make room on that disk.")


_CHECKS: tuple[Callable[[_Source], Iterator[Check]], ...] = (
    _version, _wal_level, _privilege, _room, _publication, _tables, _default_partitions, _keep_size, _disk,
)  # fmt: skip
