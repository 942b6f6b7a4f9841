"""What the source's catalog says of tables and types, for formats that need more than the stream tells."""

from __future__ import annotations

from contextlib import closing

from bitvelocity.changes.formats import ColumnFacts, Described, TableFacts, TypeFacts

from .connection import Connection, connect, our_errors
from .failures import Place

_COLUMNS = """
select n.nspname || '.' || c.relname, a.attname, a.atttypid, a.atttypmod, a.attnotnull,
       case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by n.nspname collate "C", c.relname collate "C", a.attnum
"""
_KEYS = """
select distinct on (i.indrelid) n.nspname || '.' || c.relname,
       array(select a.attname::text from unnest(i.indkey) with ordinality as k (num, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num
             where k.place <= i.indnkeyatts order by k.place)
from pg_index i
join pg_class c on c.oid = i.indrelid
join pg_class x on x.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by i.indrelid, i.indisprimary desc, x.relname collate "C"
"""
_TYPES = """
select t.oid::bigint, t.typname, t.typtype::text, t.typcategory::text, t.typelem::bigint, t.typbasetype::bigint, t.typtypmod,
       array(select e.enumlabel::text from pg_enum e where e.enumtypid = t.oid order by e.enumsortorder)
from pg_type t
where t.oid >= 16384 or t.typcategory = 'A' or t.typtype <> 'b'
"""
_KINDS = {"b": "base", "d": "domain", "e": "enum", "c": "composite", "r": "range", "p": "pseudo", "m": "multirange"}


def describe_source(dsn: str, place: Place | None = None) -> Described:
    """Read what is known of the tables and types of a database now."""
    place = place or Place("", "")
    with our_errors(place), closing(connect(dsn, place)) as connection:
        return Described(connection.info.dbname, _tables(connection), _types(connection))


def _tables(connection: Connection) -> dict[str, TableFacts]:
    keys: dict[str, list[str]] = dict(connection.execute(_KEYS).fetchall())
    columns: dict[str, dict[str, ColumnFacts]] = {}
    for table, name, kind, modifier, not_null, default in connection.execute(_COLUMNS):
        columns.setdefault(table, {})[name] = ColumnFacts(kind, modifier, not_null, default)
    return {table: TableFacts(table, known, tuple(keys.get(table, ()))) for table, known in columns.items()}


def _types(connection: Connection) -> dict[int, TypeFacts]:
    found = {}
    for oid, name, kind, category, element, base, modifier, labels in connection.execute(_TYPES):
        if category == "A" and element:
            found[oid] = TypeFacts(name, "array", element)
        else:
            found[oid] = TypeFacts(name, _KINDS[kind], base, modifier, tuple(labels))  # type: ignore[arg-type]
    return found
