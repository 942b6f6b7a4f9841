"""What the publication holds, and where the rows of a table lie: what every read of whole tables starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from bitvelocity.changes import Shape
from bitvelocity.errors import CaptureError

from ..connection import Connection
from ..failures import Place, failure
from .ranges import Part, Range, part

_GENERATED_SINCE = 180_000

_TABLES = """
select t.schemaname, t.tablename, c.relkind = 'p' as partitioned, t.rowfilter, a.names,
       c.oid::bigint, c.relreplident::text, a.types, a.modifiers, a.key
from pg_publication_tables t
join pg_namespace n on n.nspname = t.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
cross join lateral (
  select coalesce(array_agg(a.attname::text order by a.attnum), '{}') as names,
         coalesce(array_agg(a.atttypid::bigint order by a.attnum), '{}') as types,
         coalesce(array_agg(a.atttypmod order by a.attnum), '{}') as modifiers,
         coalesce(array_agg(c.relreplident = 'f' or exists (
           select from pg_index i where i.indrelid = c.oid and a.attnum = any (i.indkey)
             and case c.relreplident when 'd' then i.indisprimary and i.indimmediate when 'i' then i.indisreplident end
         ) order by a.attnum), '{}') as key
  from pg_attribute a
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    and a.attname = any (t.attnames) and (a.attgenerated = '' or %s)
) a
where t.pubname = %s
order by 1, 2
"""
_LEAVES = """
select n.nspname, c.relname, pg_relation_filenode(c.oid), a.amname = 'heap',
       pg_relation_size(c.oid) / current_setting('block_size')::bigint, pg_table_size(c.oid)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_am a on a.oid = c.relam
where c.relkind = 'r'
  and (c.oid = %(table)s::regclass or c.oid in (select relid from pg_partition_tree(%(table)s::regclass) where isleaf))
order by 1, 2
"""
_FILLED = """
select exists (
  select from pg_attribute a
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  join pg_type t on t.oid = a.atttypid
  where (a.attrelid = %(table)s::regclass or a.attrelid in (select relid from pg_partition_tree(%(table)s::regclass)))
    and a.attname = any (%(columns)s) and (a.atthasmissing or d.oid is not null or a.attidentity <> '' or t.typdefault is not null)
)
"""
_REWRITTEN = """
select n.nspname || '.' || c.relname
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relfilenode <> pg_relation_filenode(c.oid)
  and c.oid in (select name::regclass from unnest(%(names)s::text[]) as given (name)
                union select relid from unnest(%(names)s::text[]) as given (name), pg_partition_tree(name::regclass))
order by 1
"""
"""Tables whose storage is another one now than the snapshot knows: it would see them empty."""


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table as the publication shows it: its columns in the stream's order, its row filter."""

    schema: str
    name: str
    partitioned: bool
    row_filter: str | None
    columns: tuple[str, ...]
    shape: Shape
    """What the stream says of it too."""

    @property
    def qualified(self) -> str:
        """As batches name it."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """As SQL names it."""
        return sql.Identifier(self.schema, self.name)

    def lock(self, connection: Connection, place: Place) -> None:
        """Keep DDL away until the end of the transaction; readers and writers are not disturbed."""
        try:
            connection.execute(sql.SQL("lock table {} in access share mode").format(self.identifier))
        except psycopg.Error as error:
            raise self.refused(error.sqlstate, error.diag.message_primary or str(error), place) from error

    def refused(self, sqlstate: str | None, message: str, place: Place) -> CaptureError:
        """What the server answered, said of this table."""
        error = failure(sqlstate, message, place)
        error.entity = self.qualified
        return error

    @property
    def source(self) -> sql.Composable:
        """What stands after FROM: rows of partitions too, not those of inheriting tables, and of those the published ones."""
        where = sql.SQL(f" WHERE {self.row_filter}" if self.row_filter else "")  # as the server itself prints it
        return self._whole + where

    @property
    def _whole(self) -> sql.Composable:
        return sql.SQL("" if self.partitioned else "ONLY ") + self.identifier

    def copy(self, connection: Connection) -> bytes:
        """The statement that prints its rows."""
        return self._printing(self._whole).as_bytes(connection)

    def copy_where(self, connection: Connection, *limits: sql.Composable) -> bytes:
        """The statement that prints the rows for which all of `limits` hold."""
        return self._printing(self._whole, *limits).as_bytes(connection)

    def copy_range(self, connection: Connection, part: Part, piece: Range, *limits: sql.Composable) -> bytes:
        """The statement that prints the rows of a range of blocks for which all of `limits` hold."""
        if piece.end is not None:
            limits = (sql.SQL(f"ctid < '({piece.end},0)'"), *limits)
        if piece.first:
            limits = (sql.SQL(f"ctid >= '({piece.first},0)'"), *limits)
        source = sql.SQL("ONLY ") + sql.Identifier(part.schema, part.name)
        return self._printing(source, *limits).as_bytes(connection)

    def copy_keys(self, connection: Connection, key: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
        """The statement that prints the rows with some keys, given as text."""
        names = sql.SQL(", ").join(map(sql.Identifier, key))
        values = sql.SQL(", ").join(
            sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, row))) for row in rows
        )
        return self.copy_where(connection, sql.SQL("({}) IN ({})").format(names, values))

    @property
    def look(self) -> dict[str, tuple[int, int]]:
        """Its columns with the OIDs and modifiers of their types."""
        return dict(zip(self.columns, zip(self.shape.types, self.shape.modifiers, strict=True), strict=True))

    def filled(self, columns: Sequence[str]) -> sql.Composable:
        """The condition that one of these columns, as far as they are there, is not NULL."""
        known = [sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in columns if name in self.columns]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(known)) if known else sql.SQL("false")

    def may_be_filled(self, connection: Connection, columns: Sequence[str]) -> bool:
        """Whether rows may have values in these columns that were never written: by a default, or computed."""
        known = [name for name in columns if name in self.columns]
        name = self.identifier.as_string(connection)
        row = connection.execute(_FILLED, {"table": name, "columns": known}).fetchone()
        return bool(row and row[0])

    def parts(self, connection: Connection) -> tuple[Part, ...]:
        """The tables that its rows lie in, as they are now."""
        found = connection.execute(_LEAVES, {"table": self.identifier.as_string(connection)}).fetchall()
        return tuple(
            part(schema, name, file, blocks=blocks if is_heap else 0, size=size)
            for schema, name, file, is_heap, blocks, size in found
        )

    def _printing(self, source: sql.Composable, *limits: sql.Composable) -> sql.Composed:
        columns = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        if self.row_filter:
            limits = (sql.SQL(self.row_filter), *limits)  # as the server itself prints it
        where = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(limits) if limits else sql.SQL("")
        return sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT").format(columns, source, where)


def file_of(connection: Connection, part: Part) -> int | None:
    """The number of the file that a part has now; None when it is gone."""
    name = sql.Identifier(part.schema, part.name).as_string(connection)
    row = connection.execute("select pg_relation_filenode(to_regclass(%s))", [name]).fetchone()
    return row[0] if row else None


def condition(where: str) -> sql.Composable:
    """A person's condition, closed off from what stands around it."""
    return sql.SQL("(") + sql.SQL(where) + sql.SQL("\n)")


def rewritten(connection: Connection, tables: Sequence[PublishedTable]) -> list[str]:
    """Tables rewritten or truncated between the snapshot of this transaction and our locks: they would read as empty."""
    names = [table.identifier.as_string(connection) for table in tables]
    return [row[0] for row in connection.execute(_REWRITTEN, {"names": names})]


def published_tables(connection: Connection, publication: str) -> list[PublishedTable]:
    """What the publication holds, each table once: a partitioned table by its root if published so."""
    with_generated = connection.info.server_version >= _GENERATED_SINCE  # listed before, but never sent
    rows = connection.execute(_TABLES, [with_generated, publication]).fetchall()
    return [
        PublishedTable(
            schema, name, root, where, tuple(columns), Shape(oid, tuple(types), tuple(modifiers), tuple(key), identity)
        )
        for schema, name, root, where, columns, oid, identity, types, modifiers, key in rows
    ]
