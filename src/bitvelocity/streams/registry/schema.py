"""The words of the registry: a schema, what it refers to, and where it is registered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast
from uuid import UUID, uuid5

from .refusals import invalid_schema
from .rules import check_rules
from .subjects import Subject

SchemaType = Literal["AVRO", "JSON", "PROTOBUF"]
TYPES: tuple[SchemaType, ...] = ("AVRO", "JSON", "PROTOBUF")

_OUR_NAMESPACE = UUID("6f6a3f0e-6d3c-5f0c-9c58-7b1d1d0a2c11")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """Another registered schema that a schema uses, under the name by which it uses it."""

    name: str
    subject: str
    version: int


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A schema as it is registered. `metadata` and `rules` are kept as canonical JSON, and belong to its identity."""

    text: str
    type: SchemaType = "AVRO"
    references: tuple[Reference, ...] = ()
    metadata: str | None = None
    rules: str | None = None

    @cached_property
    def identity(self) -> str:
        """What makes two schemas the same: everything."""
        references = [[one.name, one.subject, one.version] for one in self.references]
        parts = [self.type, self.text, references, self.metadata, self.rules]
        return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.identity.encode()).hexdigest()

    @cached_property
    def guid(self) -> str:
        """The same for the same schema in every registry, and after every restore."""
        return str(uuid5(_OUR_NAMESPACE, self.identity))

    @property
    def bare(self) -> Schema:
        """Without what only annotates it."""
        return replace(self, metadata=None, rules=None)


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a subject."""

    subject: Subject
    version: int
    id: int
    schema: Schema
    deleted: bool = False


def read_schema(body: Any) -> Schema:
    """The schema in a request's body."""
    if not isinstance(body, dict) or not isinstance(body.get("schema"), str) or not body["schema"].strip():
        raise invalid_schema("the body has no schema, a string")
    kind = body.get("schemaType") or "AVRO"
    if kind not in TYPES:
        raise invalid_schema(f"there is no schemaType {kind!r}; known are {', '.join(TYPES)}")
    return Schema(
        text=body["schema"],
        type=cast("SchemaType", kind),
        references=tuple(map(_read_reference, body.get("references") or ())),
        metadata=canonical_json(body.get("metadata")),
        rules=canonical_json(check_rules(body.get("ruleSet"))),
    )


def _read_reference(value: Any) -> Reference:
    match value:
        case {"name": str(name), "subject": str(subject), "version": int(version)}:
            return Reference(name, subject, version)
        case _:
            raise invalid_schema("a reference needs name, subject and version")


def canonical_json(value: Any) -> str | None:
    """JSON with sorted keys and no spaces; nothing for what is absent or empty."""
    present = _present(value)
    return json.dumps(present, sort_keys=True, separators=(",", ":"), ensure_ascii=False) if present else None


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: part for key, item in value.items() if (part := _present(item)) is not None}
    if isinstance(value, list):
        return [_present(item) for item in value]
    return value


def schema_fields(schema: Schema) -> dict[str, Any]:
    """A schema as the API prints it: nothing that clients do not know, and no type where it is Avro."""
    out: dict[str, Any] = {}
    if schema.type != "AVRO":
        out["schemaType"] = schema.type
    if schema.references:
        out["references"] = [
            {"name": one.name, "subject": one.subject, "version": one.version} for one in schema.references
        ]
    if schema.metadata:
        out["metadata"] = json.loads(schema.metadata)
    if schema.rules:
        out["ruleSet"] = json.loads(schema.rules)
    return {**out, "schema": schema.text}


def registered_fields(one: Registered) -> dict[str, Any]:
    """A version as the API prints it."""
    where = {"subject": str(one.subject), "version": one.version, "id": one.id, "guid": one.schema.guid}
    return {**where, **schema_fields(one.schema)}
