"""Schemas come in and go out: registration, import under given numbers, deletion."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from . import reading, rows, settings
from .compatibility import breaches, messages
from .forms import Parsed
from .refusals import (
    id_mismatch,
    incompatible,
    invalid_schema,
    invalid_version,
    not_permitted,
    referenced,
    subject_not_found,
    subject_not_soft_deleted,
    subject_soft_deleted,
    version_not_found,
    version_not_soft_deleted,
    version_soft_deleted,
)
from .rows import Run
from .rules import merged_rules
from .schema import Reference, Registered, Schema, canonical_json
from .subjects import Subject


def prepare(run: Run, subject: Subject, schema: Schema, *, normalize: bool) -> tuple[Schema, Parsed]:
    """The schema in the form in which it is kept and compared."""
    parsed = reading.parse(run, schema, subject.context)
    normalize = normalize or bool(settings.config(run, subject).get("normalize"))
    references = tuple(_numbered(run, one, subject.context) for one in schema.references)
    if normalize:
        references = tuple(sorted(set(references)))
    text = parsed.normal if normalize else parsed.text
    return replace(schema, text=text, references=references), parsed


def _numbered(run: Run, reference: Reference, context: str) -> Reference:
    """A reference to the latest version, with its number: what a schema means must not change later."""
    held = reading.referred(run, reference, context)
    return replace(reference, version=held.version) if held else reference


def register(
    run: Run,
    subject: Subject,
    given: Schema,
    *,
    normalize: bool = False,
    number: int | None = None,
    version: int | None = None,
) -> Registered:
    """Register a schema; the same schema again gives the same version. Nothing is written when it is refused."""
    settings.check_writable(run, subject)
    schema, parsed = prepare(run, subject, given, normalize=normalize)
    if settings.mode(run, subject) == "IMPORT":
        return _import(run, subject, schema, number=number, version=version)
    schema = _annotated(run, subject, schema)
    if found := reading.find(run, subject, schema):
        if number is not None and number != found.id:
            raise id_mismatch(number, found.id)
        return found
    if number is not None:
        raise not_permitted(f"Subject {subject} is not in import mode")
    level, found_breaches = breaches(run, subject, schema, parsed=parsed)
    if found_breaches:
        raise incompatible(messages(level, found_breaches))
    held = rows.history(run, subject)
    expected = held[-1].version + 1 if held else 1
    if version not in (None, expected):
        raise invalid_version(version)
    return _add(run, subject, schema, number=rows.find_id(run, subject.context, schema), version=expected)


def _import(
    run: Run, subject: Subject, schema: Schema, *, number: int | None, version: int | None
) -> Registered:
    """Exactly as it was elsewhere: id and version are the other registry's, nothing is compared."""
    if number is None:
        raise invalid_schema("a schema is imported under the id that it has elsewhere: give it as id")
    other = rows.schema_of(run, subject.context, number)
    if other is not None and other.identity != schema.identity:
        raise not_permitted(f"Overwrite new schema with id {number} is not permitted.")
    held_id = rows.find_id(run, subject.context, schema)
    if held_id not in (None, number):
        raise id_mismatch(number, int(held_id or 0))
    held = rows.history(run, subject)
    version = version or (held[-1].version + 1 if held else 1)
    there = next((one for one in held if one.version == version), None)
    if there is not None:
        if there.id != number:
            raise not_permitted(f"Overwrite version {version} of subject {subject} is not permitted.")
        return there
    return _add(run, subject, schema, number=number, version=version)


def _add(run: Run, subject: Subject, schema: Schema, *, number: int | None, version: int) -> Registered:
    if number is None:
        number = rows.next_id(run, subject.context)
    if rows.schema_of(run, subject.context, number) is None:
        rows.add_schema(run, subject.context, number, schema)
    rows.add_version(run, subject, version, number)
    return Registered(subject, version, number, schema)


def _annotated(run: Run, subject: Subject, schema: Schema) -> Schema:
    """With the settings' metadata and rules; a schema that brings no annotations keeps those of the version before it."""
    held = [one for one in rows.history(run, subject) if not one.deleted]
    if held and schema == schema.bare:
        schema = replace(schema, metadata=held[-1].schema.metadata, rules=held[-1].schema.rules)
    config = settings.config(run, subject)
    metadata = _merged(config.get("defaultMetadata"), schema.metadata, config.get("overrideMetadata"))
    rules = merged_rules(config.get("defaultRuleSet"), schema.rules, config.get("overrideRuleSet"))
    return replace(schema, metadata=canonical_json(metadata), rules=canonical_json(rules))


def _merged(default: Any, own: str | None, override: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in (default, json.loads(own) if own else None, override):
        for part, values in (layer or {}).items():
            both = isinstance(values, dict) and isinstance(merged.get(part), dict)
            merged[part] = {**merged[part], **values} if both else values
    return merged


def delete_subject(run: Run, subject: Subject, *, permanent: bool) -> list[int]:
    """Hide a subject's versions; those that are hidden are erased when asked once more, for good."""
    settings.check_writable(run, subject)
    held = rows.history(run, subject)
    live = [one for one in held if not one.deleted]
    if not held:
        raise subject_not_found(subject)
    if not permanent and not live:
        raise subject_soft_deleted(subject)
    if permanent and live:
        raise subject_not_soft_deleted(subject)
    for one in held if permanent else live:
        _check_unreferenced(run, one)
    for one in held if permanent else live:
        (rows.erase_version if permanent else rows.hide_version)(run, subject, one.version)
    return [one.version for one in (held if permanent else live)]


def delete_version(run: Run, subject: Subject, wanted: int | None, *, permanent: bool) -> int:
    """Hide one version, or erase one that is hidden."""
    settings.check_writable(run, subject)
    held = rows.history(run, subject)
    if not held:
        raise subject_not_found(subject)
    if wanted is None:
        wanted = next((one.version for one in reversed(held) if not one.deleted), held[-1].version)
    one = next((one for one in held if one.version == wanted), None)
    if one is None:
        raise version_not_found(wanted)
    if one.deleted and not permanent:
        raise version_soft_deleted(subject, one.version)
    if permanent and not one.deleted:
        raise version_not_soft_deleted(subject, one.version)
    _check_unreferenced(run, one)
    (rows.erase_version if permanent else rows.hide_version)(run, subject, one.version)
    return one.version


def _check_unreferenced(run: Run, target: Registered) -> None:
    users = reading.referring_to(run, target)
    if any(not one.deleted for one in users):
        raise referenced(f"{{magic=1,keytype=SCHEMA,subject={target.subject},version={target.version}}}")
