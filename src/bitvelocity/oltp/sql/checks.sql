-- name: facts
-- One row about the server, the database and the role, for the checks.
select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
       current_date as today, pg_is_in_recovery() as standby,
       (select count(*) from pg_replication_slots) as slots, (select count(*) from pg_stat_replication) as senders,
       exists (select from pg_replication_slots where slot_name = %(slot)s) as own_slot,
       exists (select from pg_replication_slots where slot_name = left(%(slot)s, 58) || '_copy' and temporary) as own_copy,
       pg_encoding_to_char(d.encoding) as encoding,
       d.datcollversion as collation_made, pg_database_collation_actual_version(d.oid) as collation_now,
       inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8' as local,
       r.rolconnlimit as connection_limit, r.rolvaliduntil::text as valid_until,
       case when isfinite(r.rolvaliduntil) then extract(epoch from r.rolvaliduntil - now())::float8 / 86400 end as days_valid
  from pg_database d, pg_roles r
 where d.datname = current_database() and r.rolname = current_user;

-- name: settings
-- Server settings, with what makes bytes or milliseconds of them. Of the role's own timeouts, what its sessions begin
-- with: the doctor's has one of its own.
select name, case when name in ('statement_timeout', 'lock_timeout') then reset_val else setting end as setting,
       case unit when 'kB' then 1024 when '8kB' then 8192 when 'MB' then 1048576
                 when 'ms' then 1 when 's' then 1000 when 'min' then 60000 end as scale
  from pg_settings
 where name in ('wal_level', 'effective_wal_level', 'max_replication_slots', 'max_wal_senders', 'wal_sender_timeout',
                'max_slot_wal_keep_size', 'idle_replication_slot_timeout', 'fsync', 'logical_decoding_work_mem',
                'data_directory', 'hot_standby_feedback', 'primary_slot_name', 'synchronized_standby_slots',
                'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout',
                'transaction_timeout');

-- name: closed
-- Tables that the role cannot read, and whether it can enter their schema.
select n.nspname, c.relname, has_schema_privilege(n.oid, 'usage') as usage, has_table_privilege(c.oid, 'select') as readable
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = any(%(tables)s)
   and not (has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'))
 order by 1, 2;

-- name: policies
-- Tables of which the role would see a part only.
select n.nspname, c.relname
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = any(%(tables)s) and c.relrowsecurity and row_security_active(c.oid)
 order by 1, 2;

-- name: publication
-- The publication with its schemas and tables: their partition root, what their column lists leave out, their filters.
select p.puballtables, p.pubviaroot, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
       p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate as complete, to_jsonb(p) ->> 'pubgencols' as generated,
       array(select n.nspname::text from pg_publication_namespace x join pg_namespace n on n.oid = x.pnnspid
              where x.pnpubid = p.oid order by 1) as schemas,
       coalesce((select jsonb_agg(jsonb_build_object(
         'name', n.nspname || '.' || c.relname, 'schema', n.nspname, 'table', c.relname,
         'root', case when c.relispartition then pg_partition_root(c.oid)::oid::bigint end,
         'filter', pg_get_expr(x.prqual, x.prrelid),
         'left_out', (select coalesce(jsonb_agg(a.attname order by a.attnum), '[]') from pg_attribute a
                       where x.prattrs is not null and a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                         and a.attgenerated = '' and not a.attnum = any(x.prattrs::int2[])),
         'without_key', (select coalesce(jsonb_agg(a.attname order by a.attnum), '[]') from pg_attribute a
                          where x.prattrs is not null and a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                            and not a.attnum = any(x.prattrs::int2[])
                            and (c.relreplident = 'f' or exists (
                              select from pg_index i where i.indrelid = c.oid and a.attnum = any(i.indkey::int2[])
                                 and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident)
                            )))
       ) order by n.nspname, c.relname)
          from pg_publication_rel x join pg_class c on c.oid = x.prrelid join pg_namespace n on n.oid = c.relnamespace
         where x.prpubid = p.oid), '[]') as tables
  from pg_publication p where p.pubname = %(publication)s;

-- name: strangers
-- Publications of others that hold all tables.
select pubname from pg_publication where puballtables and pubname <> %(publication)s order by 1;

-- name: children
-- Tables that inherit from one, the old way.
select n.nspname, c.relname
  from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
 where i.inhparent = %(table)s order by 1, 2;

-- name: identities
-- Indexes of a table that could tell its rows apart: unique, whole, not deferrable, over columns that are never NULL.
select x.relname
  from pg_index i join pg_class x on x.oid = i.indexrelid
 where i.indrelid = %(table)s and i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null
   and i.indexprs is null
   and not exists (select from unnest(i.indkey::int2[]) with ordinality as k (num, n)
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num
                    where k.n <= i.indnkeyatts and not a.attnotnull)
 order by i.indnkeyatts, x.relname;

-- name: slots
-- Slots other than ours, with the WAL that they hold back.
select s.slot_name, s.plugin, s.database, s.active, coalesce(s.wal_status = 'lost', false) as lost,
       coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                                s.restart_lsn), 0)::bigint as retained
  from pg_replication_slots s where s.slot_name <> %(slot)s and not s.temporary order by retained desc, 1;

-- name: transactions
-- Transactions that wrote something and have been open for long, of any database.
select a.pid, coalesce(a.usename, '?') as usename, coalesce(a.state, '?') as state,
       extract(epoch from now() - a.xact_start)::float8 as seconds
  from pg_stat_activity a
 where a.xact_start < now() - make_interval(secs => %(seconds)s) and a.backend_xid is not null and a.pid <> pg_backend_pid()
 order by a.xact_start;

-- name: prepared
-- Transactions that were prepared long ago and never ended.
select gid, owner, database, database = current_database() as here, extract(epoch from now() - prepared)::float8 as seconds
  from pg_prepared_xacts where prepared < now() - make_interval(secs => %(seconds)s) order by prepared;

-- name: spilled
-- What the server wrote to its disk for a slot.
select spill_bytes from pg_stat_replication_slots where slot_name = %(slot)s;

-- name: replay
-- How far a standby is behind what it has received.
select pg_is_wal_replay_paused() as paused,
       coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint as waiting,
       extract(epoch from now() - pg_last_xact_replay_timestamp())::float8 as seconds;

-- name: awaited
-- Slots of standbys that are awaited and are not there, or not read.
select given.name, s.slot_name is not null as there
  from unnest(%(names)s::text[]) as given (name) left join pg_replication_slots s on s.slot_name = given.name
 where not coalesce(s.active, false) order by 1;
