"""What the registry keeps, as rows: one SQL for SQLite and PostgreSQL, over an open transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .schema import Reference, Registered, Schema
from .subjects import Subject

Run = Callable[[str, Sequence[Any]], list[Any]]
"""Runs one statement in a transaction, with `?` for each value, and gives its rows."""

TABLES = (
    """create table if not exists schemas (
         context text not null, id bigint not null, guid text not null, digest text not null,
         type text not null, text text not null, refs text not null, metadata text, rules text,
         primary key (context, id), unique (context, digest))""",
    "create index if not exists schemas_guid on schemas (guid)",
    """create table if not exists versions (
         context text not null, subject text not null, version integer not null, id bigint not null,
         deleted integer not null default 0, primary key (context, subject, version))""",
    "create index if not exists versions_id on versions (context, id)",
    """create table if not exists settings (
         context text not null, subject text not null, config text, mode text, primary key (context, subject))""",
)

_VERSION = (
    "select v.context, v.subject, v.version, v.id, v.deleted, s.text, s.type, s.refs, s.metadata, s.rules "
    "from versions v join schemas s on s.context = v.context and s.id = v.id "
)


def make_tables(run: Run) -> None:
    for statement in TABLES:
        run(statement, ())


def find_id(run: Run, context: str, schema: Schema) -> int | None:
    """The id that this schema has in the context, even if no version uses it any more: ids are never given twice."""
    found = run("select id from schemas where context = ? and digest = ?", (context, schema.digest))
    return int(found[0][0]) if found else None


def next_id(run: Run, context: str) -> int:
    (row,) = run("select coalesce(max(id), 0) + 1 from schemas where context = ?", (context,))
    return int(row[0])


def schema_of(run: Run, context: str, number: int) -> Schema | None:
    """The schema with this id, whether any version uses it or not."""
    found = run(
        "select text, type, refs, metadata, rules from schemas where context = ? and id = ?", (context, number)
    )
    return _schema(found[0]) if found else None


def add_schema(run: Run, context: str, number: int, schema: Schema) -> None:
    refs = json.dumps([[one.name, one.subject, one.version] for one in schema.references])
    run(
        "insert into schemas (context, id, guid, digest, type, text, refs, metadata, rules) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (context, number, schema.guid, schema.digest, schema.type, schema.text, refs, schema.metadata, schema.rules),
    )


def by_guid(run: Run, guid: str) -> list[tuple[str, int]]:
    """Context and id of each schema with this GUID that a version uses."""
    found = run(
        "select s.context, s.id from schemas s where s.guid = ? and exists "
        "(select 1 from versions v where v.context = s.context and v.id = s.id) order by s.context",
        (guid,),
    )
    return [(str(context), int(number)) for context, number in found]


def history(run: Run, subject: Subject) -> list[Registered]:
    """All versions of a subject in their order, those soft-deleted too."""
    return _versions(
        run(_VERSION + "where v.context = ? and v.subject = ? order by v.version", (subject.context, subject.name))
    )


def holders(run: Run, context: str, number: int) -> list[Registered]:
    """All versions that use an id."""
    return _versions(
        run(_VERSION + "where v.context = ? and v.id = ? order by v.subject, v.version", (context, number))
    )


def everything(run: Run) -> list[Registered]:
    """All versions of all subjects, in the order of their ids."""
    return _versions(run(_VERSION + "order by v.context, v.id, v.subject, v.version", ()))


def referring(run: Run) -> list[Registered]:
    """All versions whose schema refers to another."""
    return _versions(run(_VERSION + "where s.refs <> '[]' order by v.context, v.id, v.subject, v.version", ()))


def add_version(run: Run, subject: Subject, version: int, number: int) -> None:
    run(
        "insert into versions (context, subject, version, id) values (?, ?, ?, ?)",
        (subject.context, subject.name, version, number),
    )


def hide_version(run: Run, subject: Subject, version: int) -> None:
    run(
        "update versions set deleted = 1 where context = ? and subject = ? and version = ?",
        (subject.context, subject.name, version),
    )


def erase_version(run: Run, subject: Subject, version: int) -> None:
    run(
        "delete from versions where context = ? and subject = ? and version = ?",
        (subject.context, subject.name, version),
    )


def subjects(run: Run) -> list[tuple[Subject, bool]]:
    """Every subject, and whether a version of it is live."""
    found = run(
        "select context, subject, min(deleted) from versions group by context, subject order by context, subject", ()
    )
    return [(Subject(context, name), not deleted) for context, name, deleted in found]


def contexts(run: Run) -> list[str]:
    return [str(row[0]) for row in run("select distinct context from versions order by context", ())]


def setting(run: Run, subject: Subject) -> tuple[dict[str, Any] | None, str | None]:
    """Config and mode that are set for exactly this subject (or whole context)."""
    found = run(
        "select config, mode from settings where context = ? and subject = ?", (subject.context, subject.name)
    )
    if not found:
        return None, None
    config, mode = found[0]
    return (json.loads(config) if config else None), mode


def set_config(run: Run, subject: Subject, config: dict[str, Any] | None) -> None:
    run(
        "insert into settings (context, subject, config) values (?, ?, ?) "
        "on conflict (context, subject) do update set config = excluded.config",
        (subject.context, subject.name, None if config is None else json.dumps(config, sort_keys=True)),
    )


def set_mode(run: Run, subject: Subject, mode: str | None) -> None:
    run(
        "insert into settings (context, subject, mode) values (?, ?, ?) "
        "on conflict (context, subject) do update set mode = excluded.mode",
        (subject.context, subject.name, mode),
    )


def _versions(found: Iterable[Any]) -> list[Registered]:
    return [
        Registered(Subject(context, name), int(version), int(number), _schema(rest), bool(deleted))
        for context, name, version, number, deleted, *rest in found
    ]


def _schema(row: Sequence[Any]) -> Schema:
    text, kind, refs, metadata, rules = row
    references = tuple(Reference(*one) for one in json.loads(refs))
    return Schema(text=text, type=kind, references=references, metadata=metadata, rules=rules)
