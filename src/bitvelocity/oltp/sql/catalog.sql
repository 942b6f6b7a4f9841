-- name: tables
-- Tables, views and foreign tables of the schemas; leaves of partitioned tables with their root.
select c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.relispartition,
       case when c.relispartition then pg_partition_root(c.oid)::oid end as root,
       (select i.inhparent from pg_inherits i where i.inhrelid = c.oid limit 1) as parent,
       c.relreplident::text, c.relrowsecurity,
       (select array_agg(a.attname::text order by k.n)
          from pg_index i cross join unnest(i.indkey) with ordinality as k (number, n)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
         where i.indrelid = c.oid and i.indisreplident and i.indisvalid) as identity_columns, obj_description(c.oid, 'pg_class') as comment,
       p.partstrat::text, exists (select from pg_inherits i where i.inhparent = c.oid) as inherited,
       case when p.partstrat is not null then pg_get_partkeydef(c.oid) end as partition_key,
       c.relispartition and pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' as is_default
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_partitioned_table p on p.partrelid = c.oid
 where c.relkind in ('r', 'p', 'f', 'v', 'm') and n.nspname = any(%(schemas)s)
   and not exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by n.nspname, c.relname;

-- name: schemas
-- Schemas that people made.
select nspname from pg_namespace
 where nspname not like 'pg\_%' and nspname not in ('information_schema', 'bv') order by 1;

-- name: columns
-- Columns with type, default, identity and comment.
select a.attrelid, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attidentity::text, a.attgenerated::text,
       format_type(a.atttypid, a.atttypmod) as native, pg_get_expr(d.adbin, d.adrelid) as expression,
       col_description(a.attrelid, a.attnum) as comment
  from pg_attribute a
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attrelid = any(%(tables)s) and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum;

-- name: types
-- The types of those columns, of their elements and of what their domains stand for.
with recursive used (oid) as (
  select distinct atttypid from pg_attribute where attrelid = any(%(tables)s) and attnum > 0 and not attisdropped
  union
  select next from used join pg_type t on t.oid = used.oid, unnest(array[t.typelem, t.typbasetype]) as next
   where next <> 0
)
select t.oid, n.nspname, t.typname, t.typtype::text, t.typcategory::text, t.typelem, t.typbasetype, t.typtypmod,
       format_type(t.oid, null) as native,
       (select array_agg(e.enumlabel::text order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid) as labels
  from used join pg_type t on t.oid = used.oid join pg_namespace n on n.oid = t.typnamespace;

-- name: constraints
-- Keys, unique, foreign key and check constraints with the columns they name.
select k.conrelid, k.conname, k.contype::text, k.convalidated, k.condeferrable, pg_get_constraintdef(k.oid, true) as definition,
       (select array_agg(a.attname::text order by o.n) from unnest(k.conkey) with ordinality as o (num, n)
          join pg_attribute a on a.attrelid = k.conrelid and a.attnum = o.num) as columns,
       fn.nspname as to_schema, f.relname as to_table,
       (select array_agg(a.attname::text order by o.n) from unnest(k.confkey) with ordinality as o (num, n)
          join pg_attribute a on a.attrelid = k.confrelid and a.attnum = o.num) as to_columns,
       k.confdeltype::text
  from pg_constraint k
  left join pg_class f on f.oid = k.confrelid
  left join pg_namespace fn on fn.oid = f.relnamespace
 where k.conrelid = any(%(tables)s) and k.contype in ('p', 'u', 'f', 'c')
   and (k.conparentid = 0 or k.contype = 'p')
 order by k.conrelid, k.conname;

-- name: indexes
-- Indexes term by term, with what makes them partial; those of constraints are marked.
select i.indrelid, x.relname, i.indisvalid, i.indisunique, i.indisreplident, m.amname,
       pg_get_indexdef(i.indexrelid) as definition, pg_get_expr(i.indpred, i.indrelid, true) as predicate,
       (select array_agg(pg_get_indexdef(i.indexrelid, n, true)
                 || case when m.amname = 'btree' and i.indoption[n - 1] & 1 = 1 then ' desc' else '' end
                 || case when m.amname <> 'btree' or i.indoption[n - 1] in (0, 3) then ''
                         when i.indoption[n - 1] & 2 = 2 then ' nulls first' else ' nulls last' end order by n)
          from generate_series(1, i.indnkeyatts) as n) as terms,
       (select array_agg(pg_get_indexdef(i.indexrelid, n, true) order by n)
          from generate_series(i.indnkeyatts + 1, i.indnatts) as n) as included,
       exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')) as constrained,
       x.relkind = 'I' as partitioned, (select h.inhparent from pg_inherits h where h.inhrelid = x.oid) as parent,
       x.oid
  from pg_index i
  join pg_class x on x.oid = i.indexrelid
  join pg_am m on m.oid = x.relam
 where i.indrelid = any(%(tables)s)
 order by i.indrelid, x.relname;

-- name: triggers
-- Triggers of ours and what each does.
select t.tgrelid, t.tgname, case when t.tgenabled in ('O', 'A') then pg_get_triggerdef(t.oid) else 'disabled' end as definition
  from pg_trigger t
 where t.tgrelid = any(%(tables)s) and not t.tgisinternal and t.tgname like 'bv\_%%';
