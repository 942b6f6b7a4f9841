"""One function for each question that clients ask."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from ...errors import RegistryError
from . import reading, registering, rows, settings
from .asked import Asked
from .compatibility import breaches, messages
from .forms import protobuf
from .refusals import invalid_schema, schema_not_found
from .schema import TYPES, Registered, Schema, read_schema, registered_fields, schema_fields


def nothing(asked: Asked) -> dict[str, Any]:  # noqa: ARG001 - every answer takes what was asked
    return {}


def cluster(asked: Asked) -> dict[str, Any]:  # noqa: ARG001
    return {"scope": {"path": [], "clusters": {"schema-registry-cluster": "bitvelocity"}}, "id": ""}


def about(asked: Asked) -> dict[str, Any]:  # noqa: ARG001
    return {"version": version("bitvelocity"), "commitId": ""}


def types(asked: Asked) -> list[str]:  # noqa: ARG001
    return sorted(TYPES)


def list_contexts(asked: Asked) -> list[str]:
    return asked.page(sorted({".", *rows.contexts(asked.run)}))


def list_subjects(asked: Asked) -> list[str]:
    prefix = asked.text("subjectPrefix", ":*:" if asked.context == "." else f":{asked.context}:")
    deleted_only = asked.says("deleted_only", "deletedOnly")
    found = [
        str(subject)
        for subject, live in rows.subjects(asked.run)
        if (not live if deleted_only else live or asked.says("deleted"))
        and (prefix in ("", ":*:") or str(subject).startswith(prefix))
    ]
    return asked.page(found)


def list_versions(asked: Asked) -> list[int]:
    deleted_only = asked.says("deleted_only", "deletedOnly")
    held = reading.versions(asked.run, asked.subject, deleted=deleted_only or asked.says("deleted"))
    return asked.page([one.version for one in held if one.deleted or not deleted_only])


def register(asked: Asked) -> dict[str, Any]:
    body = asked.object()
    done = registering.register(
        asked.run,
        asked.subject,
        read_schema(body),
        normalize=asked.says("normalize"),
        number=_number(body, "id"),
        version=_number(body, "version"),
    )
    return {"id": done.id, "version": done.version, "guid": done.schema.guid}  # a text would replace the client's own in its cache


def _number(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None or value == -1 or (value == 0 and name == "version"):
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise invalid_schema(f"{name} must be a positive whole number")
    return value


def look_up(asked: Asked) -> dict[str, Any]:
    """Under which version a subject has this schema. A schema that cannot be read is not there."""
    subject, deleted = asked.subject, asked.says("deleted")
    reading.versions(asked.run, subject, deleted=deleted)
    given = read_schema(asked.object())
    schema, _ = registering.prepare(asked.run, subject, given, normalize=asked.says("normalize"))
    found = reading.find(asked.run, subject, schema, deleted=deleted)
    if found is None:
        raise schema_not_found()
    return _version(asked, found)


def show_version(asked: Asked) -> dict[str, Any]:
    return _version(asked, _asked_version(asked))


def show_text(asked: Asked) -> str:
    return _asked_version(asked).schema.text


def _asked_version(asked: Asked) -> Registered:
    return reading.version(asked.run, asked.subject, asked.version, deleted=asked.says("deleted"))


def with_metadata(asked: Asked) -> dict[str, Any]:
    """The latest version whose metadata has these properties."""
    wanted = dict(zip(asked.query.get("key", []), asked.query.get("value", []), strict=False))
    for one in reversed(reading.versions(asked.run, asked.subject, deleted=asked.says("deleted"))):
        held = json.loads(one.schema.metadata or "{}").get("properties", {})
        if all(held.get(key) == value for key, value in wanted.items()):
            return _version(asked, one)
    raise schema_not_found()


def referenced_by(asked: Asked) -> list[int]:
    users = reading.referring_to(asked.run, reading.version(asked.run, asked.subject, asked.version, deleted=True))
    return asked.page(sorted({one.id for one in users if not one.deleted or asked.says("deleted")}))


def delete_subject(asked: Asked) -> list[int]:
    return registering.delete_subject(asked.run, asked.subject, permanent=asked.says("permanent"))


def delete_version(asked: Asked) -> int:
    return registering.delete_version(asked.run, asked.subject, asked.version, permanent=asked.says("permanent"))


def list_schemas(asked: Asked) -> list[dict[str, Any]]:
    """All versions, in such an order that each follows what it refers to: ids rise."""
    prefix = asked.text("subjectPrefix")
    held = [
        one
        for one in rows.everything(asked.run)
        if (asked.says("deleted") or not one.deleted) and str(one.subject).startswith(prefix)
    ]
    if asked.says("latestOnly"):
        held = list({one.subject: one for one in sorted(held, key=lambda one: one.version)}.values())
    return [{**registered_fields(one), "deleted": True} if one.deleted else registered_fields(one) for one in asked.page(held)]


def schema_by_id(asked: Asked) -> dict[str, Any]:
    context, schema = reading.by_id(asked.run, asked.number, asked.asked_subject)
    fields = schema_fields(_formatted(asked, schema, context))
    if asked.says("fetchMaxId"):
        fields["maxId"] = rows.next_id(asked.run, context) - 1
    return {**fields, "guid": schema.guid}


def text_by_id(asked: Asked) -> str:
    return reading.by_id(asked.run, asked.number, asked.asked_subject)[1].text


def subjects_by_id(asked: Asked) -> list[str]:
    held = reading.holders(asked.run, asked.number, asked.asked_subject, deleted=asked.says("deleted"))
    return asked.page(sorted({str(one.subject) for one in held}))


def versions_by_id(asked: Asked) -> list[dict[str, Any]]:
    held = reading.holders(asked.run, asked.number, asked.asked_subject, deleted=asked.says("deleted"))
    return asked.page([{"subject": str(one.subject), "version": one.version} for one in held])


def schema_by_guid(asked: Asked) -> dict[str, Any]:
    context, number = _places(asked)[0]
    schema = rows.schema_of(asked.run, context, number)
    if schema is None:
        raise schema_not_found(asked.names["guid"])
    return {**schema_fields(_formatted(asked, schema, context)), "guid": schema.guid}


def ids_by_guid(asked: Asked) -> list[dict[str, Any]]:
    return [{"context": context, "id": number} for context, number in _places(asked)]


def _places(asked: Asked) -> list[tuple[str, int]]:
    held = rows.by_guid(asked.run, asked.names["guid"])
    if not held:
        raise schema_not_found(asked.names["guid"])
    return held


def compatible(asked: Asked) -> dict[str, Any]:
    """Whether a schema could be registered; against a subject that is not there, everything could."""
    subject, verbose = asked.subject, asked.says("verbose")
    schema, parsed = registering.prepare(
        asked.run, subject, read_schema(asked.object()), normalize=asked.says("normalize")
    )
    against = None
    if "version" in asked.names:
        try:
            against = [reading.version(asked.run, subject, asked.version)]
        except RegistryError as error:
            if asked.version is not None or error.code != "40401":
                raise
            against = []
    level, found = breaches(asked.run, subject, schema, parsed=parsed, against=against)
    said: dict[str, Any] = {"is_compatible": not found}
    return {**said, "messages": messages(level, found)} if verbose else said


def show_config(asked: Asked) -> dict[str, Any]:
    if asked.says("defaultToGlobal"):
        return settings.config(asked.run, asked.subject)
    return settings.own_config(asked.run, asked.subject)


def set_config(asked: Asked) -> dict[str, Any]:
    return settings.set_config(asked.run, asked.subject, asked.object())


def delete_config(asked: Asked) -> dict[str, Any]:
    return settings.delete_config(asked.run, asked.subject)


def show_mode(asked: Asked) -> dict[str, Any]:
    find = settings.mode if asked.says("defaultToGlobal") else settings.own_mode
    return {"mode": find(asked.run, asked.subject)}


def set_mode(asked: Asked) -> dict[str, Any]:
    mode = asked.object().get("mode")
    return {"mode": settings.set_mode(asked.run, asked.subject, mode, force=asked.says("force"))}


def delete_mode(asked: Asked) -> dict[str, Any]:
    return {"mode": settings.delete_mode(asked.run, asked.subject)}


def _version(asked: Asked, one: Registered) -> dict[str, Any]:
    schema = _formatted(asked, one.schema, one.subject.context)
    return {**registered_fields(one), "schema": schema.text}


def _formatted(asked: Asked, schema: Schema, context: str) -> Schema:
    """The text in the form that was asked for: the descriptor of a Protobuf file, an Avro schema with all that it uses."""
    if asked.text("format") == "serialized" and schema.type == "PROTOBUF":
        parsed = reading.parse(asked.run, schema, context)
        return replace(schema, text=protobuf().serialized(parsed.content))
    return schema
