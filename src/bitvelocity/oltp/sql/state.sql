-- name: server
-- What the server is and what we may do here.
select current_setting('server_version_num')::int / 10000 as major, current_setting('wal_level') as wal_level,
       r.rolsuper, r.rolcreaterole, r.rolreplication,
       r.rolreplication or r.rolsuper
         or exists (select from pg_roles m where m.rolname in ('rds_replication', 'azure_pg_admin', 'cloudsqlreplica')
                       and pg_has_role(current_user, m.oid, 'member')) as may_replicate,
       has_database_privilege(current_database(), 'create') as may_create, current_database() as database, current_user as role
  from pg_roles r where r.rolname = current_user;

-- name: functions
-- Our functions and the fingerprint of the text that made them.
select p.proname, obj_description(p.oid, 'pg_proc') as fingerprint
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'bv';

-- name: names
-- Schemas, roles and tables of ours that exist, and the values of enum types.
select 'schema' as kind, nspname::text as name, null::text[] as labels from pg_namespace
union all
select 'table', relname, null from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'bv' and c.relkind = 'r'
union all
select 'role', rolname, null from pg_roles where rolname in ('bv_app', 'bv_capture', 'bv_reader')
union all
select 'enum', n.nspname || '.' || t.typname, array_agg(e.enumlabel::text order by e.enumsortorder)
  from pg_type t join pg_namespace n on n.oid = t.typnamespace join pg_enum e on e.enumtypid = t.oid
 group by n.nspname, t.typname;

-- name: grants
-- Privileges that our roles should have on these tables and lack.
select w.role, w.privilege, n.nspname, c.relname
  from (values ('bv_app', 'SELECT'), ('bv_app', 'INSERT'), ('bv_app', 'UPDATE'), ('bv_app', 'DELETE'),
               ('bv_capture', 'SELECT'), ('bv_reader', 'SELECT')) as w (role, privilege)
  join pg_roles r on r.rolname = w.role
  cross join pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.oid = any(%(tables)s) and not has_table_privilege(r.oid, c.oid, w.privilege);

-- name: usages
-- Schemas that our roles should be able to use and cannot.
select r.rolname, n.nspname
  from pg_roles r cross join pg_namespace n
 where r.rolname in ('bv_app', 'bv_capture', 'bv_reader') and n.nspname = any(%(schemas)s)
   and not has_schema_privilege(r.oid, n.oid, 'usage');

-- name: publication
-- The publication, with its tables, and whether columns or rows of them are left out.
select p.puballtables, p.pubviaroot, p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate as complete,
       to_jsonb(p) ->> 'pubgencols' as generated,
       coalesce((select jsonb_agg(jsonb_build_array(n.nspname, c.relname, x.prattrs is not null or x.prqual is not null))
          from pg_publication_rel x join pg_class c on c.oid = x.prrelid join pg_namespace n on n.oid = c.relnamespace
         where x.prpubid = p.oid), '[]') as tables
  from pg_publication p where p.pubname = %(publication)s;

-- name: markers
-- Which event triggers of the DDL markers are there, and whether we may make or drop them.
select array(select evtname::text from pg_event_trigger where evtname = any (%(triggers)s)),
       (select rolsuper from pg_roles where rolname = current_user)
         or exists (select from pg_roles m where m.rolname in ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin')
                       and pg_has_role(current_user, m.oid, 'member'));
