-- name: stamp_new
-- Stamp who made a row: the user of the audit context, else the session's.
-- created_at and updated_at may be given (an import of history), else they are now.
-- All three stamps read no table, and are stable: a volatile one takes a snapshot for each expression, in each row.
create or replace function bv.stamp_new() returns trigger language plpgsql stable as $stamp$
begin
  new.created_by := coalesce(nullif(current_setting('bv.operation_user', true), ''), session_user);
  new.updated_by := new.created_by;
  new.version := 1;
  new.deleted_by := case when new.deleted_at is not null then new.created_by end;
  return new;
end $stamp$;

-- name: stamp_change
-- Stamp who changed a row and when, and count it. As short as can be: it runs for every row of an update that does not set these columns so itself.
create or replace function bv.stamp_change() returns trigger language plpgsql stable as $stamp$
begin
  new.version := old.version + 1;
  new.updated_at := now();
  new.updated_by := coalesce(nullif(current_setting('bv.operation_user', true), ''), session_user);
  return new;
end $stamp$;

-- name: stamp_guard
-- Keep who made a row as it was, and stamp who deleted it; runs only for updates that name these columns.
create or replace function bv.stamp_guard() returns trigger language plpgsql stable as $guard$
begin
  new.created_at := old.created_at;
  new.created_by := old.created_by;
  if new.deleted_at is null then
    new.deleted_by := null;
  elsif old.deleted_at is null then
    new.deleted_by := coalesce(nullif(current_setting('bv.operation_user', true), ''), session_user);
  else
    new.deleted_by := old.deleted_by;
  end if;
  return new;
end $guard$;

-- name: uuid7_floor
-- The smallest UUIDv7 of a moment: the bound of a partition by time over UUIDv7 keys.
create or replace function bv.uuid7_floor(moment timestamptz) returns uuid language sql immutable strict as $floor$
  select encode(substring(int8send(floor(extract(epoch from moment) * 1000)::bigint) from 3)
                || '\x00000000000000000000'::bytea, 'hex')::uuid
$floor$;

-- name: uuidv7
-- A UUIDv7 where PostgreSQL has none of its own (before 18): 48 bits of milliseconds, the rest random.
create or replace function bv.uuidv7() returns uuid language sql volatile as $uuid$
  select encode(set_byte(set_byte(bytes, 6, get_byte(bytes, 6) & 15 | 112), 8, get_byte(bytes, 8) & 63 | 128), 'hex')::uuid
    from (select overlay(uuid_send(gen_random_uuid()) placing
                   substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6) as bytes) r
$uuid$;

-- name: ensure_partitions
-- Make the range partitions of one step that are missing from `since` to `until`; gives the names of new ones.
-- Statement triggers do not come with ATTACH, so a leaf gets the root's: writes may name it.
-- A new leaf is made beside and attached, so the table is locked only against other DDL, and only for a moment.
-- A range that has rows in the default partition already is left out with a warning: its rows stay where they are.
create or replace function bv.ensure_partitions(parent regclass, step text, since timestamptz, until timestamptz)
returns setof text language plpgsql as $ensure$
declare
  form text := case step when 'year' then 'YYYY' when 'month' then 'YYYY_MM' else 'YYYY_MM_DD' end;
  ns name; rel name; identity "char"; key name; by_uuid boolean; fallback regclass;
  lo timestamp := date_trunc(step, since at time zone 'UTC'); hi timestamp; low text; high text; leaf text; taken boolean; fires text;
begin
  perform pg_advisory_xact_lock(hashtext('bv.ensure_partitions'), parent::oid::int);
  select n.nspname, c.relname, c.relreplident, a.attname, a.atttypid = 'uuid'::regtype, nullif(p.partdefid, 0)
    into strict ns, rel, identity, key, by_uuid, fallback
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_partitioned_table p on p.partrelid = c.oid
    join pg_attribute a on a.attrelid = c.oid and a.attnum = p.partattrs[0]
   where c.oid = parent;
  while lo <= until at time zone 'UTC' loop
    hi := lo + ('1 ' || step)::interval;
    leaf := format('%s_p%s', left(rel, 50), to_char(lo, form));
    low := case when by_uuid then bv.uuid7_floor(lo at time zone 'UTC')::text else (lo at time zone 'UTC')::text end;
    high := case when by_uuid then bv.uuid7_floor(hi at time zone 'UTC')::text else (hi at time zone 'UTC')::text end;
    taken := false;
    if to_regclass(format('%I.%I', ns, leaf)) is null then
      if fallback is not null then
        execute format('select exists (select from %s where %I >= %L and %I < %L)', fallback, key, low, key, high)
           into taken;
      end if;
      if taken then
        raise warning 'bv.ensure_partitions: % has rows from % to %: no partition is made for them', fallback, lo, hi;
      else
        execute format('create table %I.%I (like %s including defaults including generated including constraints'
                       ' including storage including compression)', ns, leaf, parent);
        if identity = 'f' then
          execute format('alter table %I.%I replica identity full', ns, leaf);
        end if;
        execute format('alter table %s attach partition %I.%I for values from (%L) to (%L)', parent, ns, leaf, low, high);
        for fires in select replace(pg_get_triggerdef(oid), format(' ON %I.%I ', ns, rel), format(' ON %I.%I ', ns, leaf))
                       from pg_trigger where tgrelid = parent and tgname like 'bv\_%' and tgtype & 1 = 0
                        and tgname <> 'bv_trail_truncate'
        loop
          execute fires;
        end loop;
        return next leaf;
      end if;
    end if;
    lo := hi;
  end loop;
end $ensure$;

-- name: expire_partitions
-- Drop the range partitions that lie wholly before a moment, and such rows of the default partition; gives their names.
create or replace function bv.expire_partitions(parent regclass, before timestamptz)
returns setof text language plpgsql set timezone = 'UTC' as $expire$
declare
  leaf regclass; bounds text; gone bigint; key name;
begin
  perform pg_advisory_xact_lock(hashtext('bv.ensure_partitions'), parent::oid::int);
  select a.attname into strict key
    from pg_partitioned_table p join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
   where p.partrelid = parent;
  for leaf, bounds in select c.oid::regclass, pg_get_expr(c.relpartbound, c.oid)
                        from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = parent order by c.relname
  loop
    if bounds = 'DEFAULT' then
      execute format('delete from %s where %I < %L', leaf, key, before);
      get diagnostics gone = row_count;
      if gone > 0 then
        return next format('%s rows of %s', gone, leaf);
      end if;
    elsif substring(bounds from $$TO \('([^']+)'\)$$)::timestamptz <= before then
      return next leaf::text;
      execute format('drop table %s', leaf);
    end if;
  end loop;
end $expire$;

-- name: mark_rewrite
-- Remember until the end of the command that a table is rewritten, and why: rows get values that no row of the stream tells.
create or replace function bv.mark_rewrite() returns event_trigger language plpgsql set search_path = pg_catalog as $mark$
declare
  target oid := pg_event_trigger_table_rewrite_oid();
begin
  perform set_config('bv.rewritten', format('%s %s:%s', current_setting('bv.rewritten', true),
                     coalesce(pg_partition_root(target)::oid, target), pg_event_trigger_table_rewrite_reason()), true);
end $mark$;

-- name: mark_ddl
-- Tell of a change of a table or type in its own transaction, where the stream has it in its place: columns, key, labels.
-- No exception is caught here: that would be a subtransaction, and PostgreSQL may put its message behind the next row.
create or replace function bv.mark_ddl() returns event_trigger language plpgsql set search_path = pg_catalog as $mark$
declare
  done record; said jsonb;
  rewritten text[] := regexp_split_to_array(trim(coalesce(current_setting('bv.rewritten', true), '')), ' ');
begin
  for done in select * from pg_event_trigger_ddl_commands() where not in_extension and schema_name not in ('bv', 'pg_temp') loop
    said := null;
    if done.object_type in ('table', 'table column') then
      select jsonb_build_object('command', done.command_tag, 'schema', n.nspname, 'name', c.relname, 'oid', c.oid::bigint,
               'identity', c.relreplident,
               'rewrite', coalesce((select bit_or(split_part(one, ':', 2)::int) from unnest(rewritten) as one
                                     where split_part(one, ':', 1) = c.oid::text), 0),
               'key', (select jsonb_agg(a.attname order by k.n) from pg_index i
                         cross join unnest(i.indkey) with ordinality as k (number, n)
                         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
                        where i.indrelid = c.oid and i.indisprimary),
               'columns', (select jsonb_agg(jsonb_build_object('name', a.attname, 'number', a.attnum,
                                    'oid', a.atttypid::bigint, 'modifier', a.atttypmod, 'generated', a.attgenerated <> '',
                                    'type', format_type(a.atttypid, a.atttypmod), 'nullable', not a.attnotnull,
                                    'default', pg_get_expr(d.adbin, d.adrelid)) order by a.attnum)
                             from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))
        into said
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.oid = done.objid and c.relkind in ('r', 'p') and c.relpersistence = 'p';
    elsif done.object_type = 'type' then
      select jsonb_build_object('command', done.command_tag, 'schema', n.nspname, 'name', t.typname, 'oid', t.oid::bigint,
               'labels', (select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid))
        into said
        from pg_type t join pg_namespace n on n.oid = t.typnamespace
       where t.oid = done.objid and t.typtype = 'e';
    end if;
    if said is not null then
      perform pg_logical_emit_message(true, 'bv.ddl', said::text);
    end if;
  end loop;
  perform set_config('bv.rewritten', '', true);
end $mark$;
