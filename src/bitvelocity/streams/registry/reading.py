"""Schemas with their references, read; and what is asked of versions, ids and subjects."""

from __future__ import annotations

from functools import lru_cache

from . import rows
from .forms import FORMS, Import, Parsed
from .refusals import invalid_schema, invalid_version, schema_not_found, subject_not_found, version_not_found
from .rows import Run
from .schema import Reference, Registered, Schema, SchemaType
from .subjects import DEFAULT_CONTEXT, Subject, read_subject

LATEST = ("latest", "-1")


@lru_cache(maxsize=4096)
def _parsed(kind: SchemaType, text: str, imports: tuple[Import, ...]) -> Parsed:
    """Reading is a pure function of the text, and histories are read at each registration."""
    return FORMS[kind].read(text, imports)


def parse(run: Run, schema: Schema, context: str) -> Parsed:
    """The schema, read with all that it refers to. What cannot be found or read is refused."""
    return _parsed(schema.type, schema.text, tuple(_imports(run, schema, context, {}, depth=0).values()))


def _imports(run: Run, schema: Schema, context: str, found: dict[str, Import], *, depth: int) -> dict[str, Import]:
    """All that a schema refers to, each after what it refers to itself."""
    if depth > 50:
        raise invalid_schema("its references go round in a circle")
    for reference in schema.references:
        if reference.name in found:
            continue
        held = referred(run, reference, context)
        if held is None:
            where = f"{reference.subject}, version {reference.version}"
            raise invalid_schema(f"no schema reference found for subject {where}")
        _imports(run, held.schema, held.subject.context, found, depth=depth + 1)
        found[reference.name] = Import(reference.name, held.schema.text)
    return found


def referred(run: Run, reference: Reference, context: str) -> Registered | None:
    """The version that a reference means; soft-deleted ones still serve those that refer to them."""
    versions = rows.history(run, read_subject(reference.subject, context))
    if reference.version == -1:
        return next((one for one in reversed(versions) if not one.deleted), None)
    return next((one for one in versions if one.version == reference.version), None)


def read_version(text: str) -> int | None:
    """A version's number; None is the latest."""
    if text in LATEST:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) < 2**31):
        raise invalid_version(text)
    return int(text)


def versions(run: Run, subject: Subject, *, deleted: bool = False) -> list[Registered]:
    """The versions of a subject that exists."""
    held = [one for one in rows.history(run, subject) if deleted or not one.deleted]
    if not held:
        raise subject_not_found(subject)
    return held


def version(run: Run, subject: Subject, wanted: int | None, *, deleted: bool = False) -> Registered:
    """One version of a subject, or its latest."""
    held = versions(run, subject, deleted=deleted)
    if wanted is None:
        return held[-1]
    found = next((one for one in held if one.version == wanted), None)
    if found is None:
        raise version_not_found(wanted)
    return found


def by_id(run: Run, number: int, subject: Subject | None) -> tuple[str, Schema]:
    """The schema with an id, and its context: the subject's, or whichever has a subject of that name with this id."""
    context = subject.context if subject else DEFAULT_CONTEXT
    places = [context, *(other for other in rows.contexts(run) if other != context)]
    for place in places if context == DEFAULT_CONTEXT and subject and subject.name else [context]:
        held = rows.holders(run, place, number)
        if held and (place == context or any(one.subject.name == (subject or held[0].subject).name for one in held)):
            return place, held[0].schema
    raise schema_not_found(number)


def holders(run: Run, number: int, subject: Subject | None, *, deleted: bool) -> list[Registered]:
    """The versions that use an id."""
    context, _ = by_id(run, number, subject)
    wanted = subject.name if subject else ""
    return [
        one
        for one in rows.holders(run, context, number)
        if (deleted or not one.deleted) and wanted in ("", one.subject.name)
    ]


def find(run: Run, subject: Subject, schema: Schema, *, deleted: bool = False) -> Registered | None:
    """The version of a subject that has this schema; one without annotations is found under any."""
    held = [one for one in rows.history(run, subject) if deleted or not one.deleted]
    exact = [one for one in held if one.schema.identity == schema.identity]
    if not exact and schema == schema.bare:
        exact = [one for one in held if one.schema.bare.identity == schema.identity]
    return exact[-1] if exact else None


def referring_to(run: Run, target: Registered) -> list[Registered]:
    """All versions that refer to this one."""
    return [
        one
        for one in rows.referring(run)
        for reference in one.schema.references
        if (held := referred(run, reference, one.subject.context)) and _is(held, target)
    ]


def _is(one: Registered, other: Registered) -> bool:
    return (one.subject, one.version) == (other.subject, other.version)
