"""The seven levels: which versions a schema is held against, and who reads whom."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from . import reading, rows, settings
from .forms import FORMS, Parsed
from .objections import Objection
from .rows import Run
from .schema import Registered, Schema
from .subjects import Subject


@dataclass(frozen=True, slots=True)
class Breach:
    """What stands between a schema and one earlier version."""

    version: int
    text: str
    objections: tuple[Objection, ...]


def breaches(
    run: Run, subject: Subject, schema: Schema, *, parsed: Parsed, against: list[Registered] | None = None
) -> tuple[str, list[Breach]]:
    """The level of the subject, and every earlier version that does not go together with the schema."""
    held = settings.config(run, subject)
    level = held["compatibilityLevel"]
    others = against if against is not None else _earlier(run, subject, level)
    found = []
    for other in [] if level == "NONE" else others:
        if _group(other.schema, held) == _group(schema, held):
            objections = _between(run, schema, parsed, other, level=level, policy=held.get("compatibilityPolicy"))
            if objections:
                found.append(Breach(other.version, other.schema.text, objections))
    return level, found


def _earlier(run: Run, subject: Subject, level: str) -> list[Registered]:
    live = [one for one in rows.history(run, subject) if not one.deleted]
    return list(reversed(live)) if level.endswith("_TRANSITIVE") else live[-1:]


def _between(
    run: Run, schema: Schema, parsed: Parsed, other: Registered, *, level: str, policy: Any
) -> tuple[Objection, ...]:
    """BACKWARD: the new schema reads what the old wrote; FORWARD: the other way round; FULL: both."""
    if other.schema.type != schema.type:
        what = f"version {other.version} is {other.schema.type}, this schema is {schema.type}"
        return (Objection("SCHEMA_TYPE_MISMATCH", "", what),)
    old = reading.parse(run, other.schema, other.subject.context)
    form = FORMS[schema.type]
    found: tuple[Objection, ...] = ()
    if not level.startswith("FORWARD"):
        found = form.objections(parsed, old, policy or "STRICT")
    if not level.startswith("BACKWARD"):
        found = (*found, *form.objections(old, parsed, policy or "STRICT"))
    return tuple(dict.fromkeys(found))


def _group(schema: Schema, config: dict[str, Any]) -> Any:
    """Schemas of different groups (a property that the settings name) need not go together."""
    name = config.get("compatibilityGroup")
    if not name or not schema.metadata:
        return None
    return json.loads(schema.metadata).get("properties", {}).get(name)


def messages(level: str, found: list[Breach]) -> list[str]:
    """What Confluent's clients print when they ask for details."""
    said = []
    for breach in found:
        said += [
            json.dumps({"errorType": one.kind, "description": one.what, "additionalInfo": one.path or "/"})
            for one in breach.objections
        ]
        said.append(json.dumps({"oldSchemaVersion": breach.version}))
        said.append(json.dumps({"oldSchema": breach.text}, ensure_ascii=False))
    return [*said, json.dumps({"compatibility": level})] if said else []
