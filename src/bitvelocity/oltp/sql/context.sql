-- name: context_strict
-- Refuse a write in a transaction that does not say who acts.
-- Settings alone will do, a session's too: then the message that change capture reads is written here.
create or replace function bv.context_strict() returns trigger language plpgsql as $strict$
declare
  who text := nullif(current_setting('bv.operation_user', true), '');
begin
  if current_setting('bv.context', true) = 'given' then
    return null;
  end if;
  if who is null then
    raise exception '% on %.%: the transaction does not say who acts', tg_op, tg_table_schema, tg_table_name
      using errcode = 'BV001', schema = tg_table_schema, table = tg_table_name,
            detail = 'The table is declared with audit_context="strict". Nothing was written.',
            hint = 'In Python: with bv.audit(connection, user="..."). In SQL, first in the transaction:'
                   ' select set_config(''bv.operation_user'', ''your name'', true);';
  end if;
  perform set_config('bv.context', 'given', true);
  perform pg_logical_emit_message(true, 'bv.audit', json_build_object('user', who,
            'correlation_id', nullif(current_setting('bv.correlation_id', true), ''),
            'source', nullif(current_setting('bv.source', true), ''))::text);
  return null;
end $strict$;

-- name: context_fallback
-- Say who is logged in, once, for a transaction that does not say who acts; marked, so that it is never taken for that.
create or replace function bv.context_fallback() returns trigger language plpgsql as $fallback$
declare
  said text := nullif(current_setting('bv.context', true), '');
  who text := nullif(current_setting('bv.operation_user', true), '');
begin
  if said = 'given' or (said is not null and who is null) then
    return null;
  end if;
  if who is not null then
    perform set_config('bv.context', 'given', true);
    perform pg_logical_emit_message(true, 'bv.audit', json_build_object('user', who,
              'correlation_id', nullif(current_setting('bv.correlation_id', true), ''),
              'source', nullif(current_setting('bv.source', true), ''))::text);
    return null;
  end if;
  said := format('fallback:%s@%s', current_setting('application_name'), coalesce(host(inet_client_addr()), 'local'));
  perform set_config('bv.context', said, true);
  perform pg_logical_emit_message(true, 'bv.audit', json_build_object('user', session_user, 'source', said,
            'fallback', true, 'application', current_setting('application_name'),
            'address', host(inet_client_addr()))::text);
  return null;
end $fallback$;
