"""The audit trail in the database: the trigger that keeps it in the transaction, or the position of what follows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import psycopg

from ..contracts.names import fitting
from ..contracts.spec import EntitySpec
from ..contracts.trail import recorded, trail_of
from .ddl import literal, qualified, quote
from .steps import Refused, Step
from .trail_sql import FAITHFUL, Image, keys, moved, target_sql, unchanged

POSITIONS = "trail_position"
TRIGGERS = {
    "bv_trail_insert": "after insert on {} referencing new table as new_rows",
    "bv_trail_update": "after update on {} referencing old table as old_rows new table as new_rows",
    "bv_trail_delete": "after delete on {} referencing old table as old_rows",
    "bv_trail_truncate": "after truncate on {}",
}
_OLD, _NEW = Image("o.", "old_row"), Image("n.", "new_row")
_CONTEXT = "who, {old}, {new}, nullif(current_setting('bv.correlation_id', true), ''), origin"


def trail_function(spec: EntitySpec) -> str:
    """The name of the trigger's function, without its schema."""
    return fitting(f"trail {spec.schema}.{spec.table}")


def function_steps(functions: Mapping[str, str], specs: Sequence[EntitySpec]) -> Iterator[Step]:
    """Make and renew what the triggers run; before the tables, whose triggers name it."""
    for spec in specs:
        if spec.audit_trail != "sync":
            continue
        text, name = function_sql(spec), trail_function(spec)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        if functions.get(name) != fingerprint:
            comment = f"comment on function bv.{quote(name)}() is {literal(fingerprint)}"
            yield Step(sql=f"{text};\n{comment}", reason="Writes the audit trail, once per statement.", entity=spec.name)


def trail_triggers(spec: EntitySpec, target: str, found: Mapping[str, str], *, root: bool) -> Iterator[Step]:
    """Make or remove the triggers of the table or of one partition. A TRUNCATE counts once, for the table."""
    for name, when in TRIGGERS.items():
        wanted = spec.audit_trail == "sync" and (root or name != "bv_trail_truncate")
        if wanted and found.get(name, "disabled") == "disabled":
            run = f"for each statement execute function bv.{quote(trail_function(spec))}()"
            sql = f"create or replace trigger {name} {when.format(target)} {run}"
            yield Step(sql=sql, reason="The audit trail is written in the transaction itself.", entity=spec.name)
        elif not wanted and name in found:
            yield Step(
                sql=f"drop trigger {name} on {target}", reason="No trigger writes the audit trail.", entity=spec.name
            )


def position_steps(
    connection: psycopg.Connection[Any], specs: Sequence[EntitySpec], *, tables: Set[str], functions: Set[str]
) -> Iterator[Step | Refused]:
    """After the tables: where the trails kept by change capture stand, and what no longer has a use."""
    followed = _followed(connection) if POSITIONS in tables else {}
    if POSITIONS not in tables and any(spec.audit_trail == "cdc" for spec in specs):
        yield Step(
            sql=f"create table bv.{POSITIONS} (relation text primary key, lsn pg_lsn not null, until pg_lsn)",
            reason="How far each audit trail has followed the changes; written with its rows.",
        )
    for spec in specs:
        yield from _position(spec, followed)
        name = trail_function(spec)
        if spec.audit_trail != "sync" and name in functions:
            yield Step(sql=f"drop function bv.{quote(name)}()", reason="No trigger runs it.", entity=spec.name)
        if spec.audit_trail == "cdc" and spec.replica_identity != "full":
            yield Refused(
                reason=f"The trail of {spec.qualified} has no old values: its changes carry the key only.",
                remedy='Declare replica_identity="full" (about a quarter more WAL), or audit_trail="sync".',
                entity=spec.name,
            )


def _followed(connection: psycopg.Connection[Any]) -> dict[str, bool]:
    """Trails that change capture keeps, and whether it is only to finish what was before a trigger took over."""
    query = "select relation, to_jsonb(p) ->> 'until' is not null from bv.trail_position as p"
    return dict(connection.execute(query).fetchall())


def _position(spec: EntitySpec, followed: Mapping[str, bool]) -> Iterator[Step | Refused]:
    """In the transaction that takes the triggers away or makes them, so that no change is written by both.

    Making a trigger waits for all who have written to the table: what they did has a commit below the end of the WAL then.
    """
    name, trail = literal(spec.qualified), trail_of(spec)
    if spec.audit_trail == "cdc" and spec.qualified not in followed:
        begun = f"exists (select from {qualified(trail.schema, trail.table)})"
        yield Step(
            sql=f"insert into bv.{POSITIONS} values ({name}, case when {begun} then pg_current_wal_insert_lsn() else '0/0' end)",
            reason="Its trail follows the changes: all that the lake has, or from here on when a trigger kept it before.",
            entity=spec.name,
        )
    elif spec.audit_trail == "cdc" and followed[spec.qualified]:
        yield Refused(
            reason=f"The trail of {spec.qualified} was given to a trigger, and what was before that is not all in it yet.",
            remedy='Let bitvelocity up be level with audit_trail="sync" first; bitvelocity status says when.',
            entity=spec.name,
            blocks=True,
        )
    elif spec.audit_trail == "sync" and followed.get(spec.qualified) is False:
        yield Step(
            sql=f"alter table bv.{POSITIONS} add column if not exists until pg_lsn; "
            f"update bv.{POSITIONS} set until = pg_current_wal_insert_lsn() where relation = {name}",
            reason="A trigger keeps the trail from here on; up brings in what it had not followed before.",
            entity=spec.name,
        )


def function_sql(spec: EntitySpec) -> str:
    """Who, then one INSERT for each kind of statement. It may write where the application may not."""
    settings = " ".join(f"set {name} = '{value}'" for name, value in FAITHFUL.items())
    return f"""create or replace function bv.{quote(trail_function(spec))}() returns trigger language plpgsql security definer
  set search_path = pg_catalog, pg_temp {settings} as $trail$
declare
  who text := nullif(current_setting('bv.operation_user', true), '');
  origin text := nullif(current_setting('bv.source', true), '');
begin
  if who is null and current_setting('bv.context', true) like 'fallback:%' then
    who := session_user;
    origin := current_setting('bv.context', true);
  end if;
  if tg_op = 'INSERT' then
    {_one(spec, "INSERT", _NEW)};
  elsif tg_op = 'UPDATE' then
    {_update(spec)};
  elsif tg_op = 'DELETE' then
    {_one(spec, "DELETE", _OLD)};
  else
    {target_sql(spec)}
    select {", ".join("null" for _ in spec.key)}, 'TRUNCATE', now(), {_CONTEXT.format(old="null", new="null")};
  end if;
  return null;
end $trail$"""


def _one(spec: EntitySpec, operation: str, image: Image) -> str:
    made = f"to_jsonb({image.record})"
    sides = {"old": "null", "new": made} if image is _NEW else {"old": made, "new": "null"}
    return f"""{target_sql(spec)}
    select {", ".join(keys(spec, image))}, '{operation}', now(), {_CONTEXT.format(**sides)}
      from {"new_rows as n" if image is _NEW else "old_rows as o"} {image.row(recorded(spec))}"""


def _update(spec: EntitySpec) -> str:
    """Old and new rows stand in one order; the number joins them, since the key may have changed."""
    key = (f"case part.op when 'DELETE' then {o} else {n} end" for o, n in zip(keys(spec, _OLD), keys(spec, _NEW), strict=True))
    less = f" - case part.op when 'UPDATE' then {unchanged(spec, _OLD, _NEW)} else '{{}}' end" if spec.audit_changed_only else ""
    sides = {
        "old": f"case when part.op <> 'INSERT' then to_jsonb(old_row){less} end",
        "new": f"case when part.op <> 'DELETE' then to_jsonb(new_row){less} end",
    }
    return f"""{target_sql(spec)}
    select {", ".join(key)}, part.op, now(), {_CONTEXT.format(**sides)}
      from (select row_number() over () as "bv n", t.* from old_rows as t) as o
      join (select row_number() over () as "bv n", t.* from new_rows as t) as n on n."bv n" = o."bv n"
      cross join lateral unnest(case when {moved(spec, _OLD, _NEW)} then array['DELETE', 'INSERT'] else array['UPDATE'] end)
        with ordinality as part (op, place)
      {_OLD.row(recorded(spec))}
      {_NEW.row(recorded(spec))}
     order by o."bv n", part.place"""
