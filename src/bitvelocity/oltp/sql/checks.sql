-- name: facts
-- One row about the server, for the checks.
select current_setting('server_version') as version,
       current_setting('max_replication_slots')::int as max_slots, (select count(*) from pg_replication_slots) as slots,
       current_setting('max_wal_senders')::int as max_senders, (select count(*) from pg_stat_replication) as senders,
       pg_size_bytes(current_setting('max_slot_wal_keep_size')) as keep_size,
       (select setting from pg_settings where name = 'data_directory') as data_directory,
       inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8' as local,
       (select rolsuper or rolbypassrls from pg_roles where rolname = current_user) as sees_all_rows;
