"""The kinds of schema behind one face: read it, print it in one form, hold it against another."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

from ...errors import MissingExtraError
from .avro import avro_objections, read_avro
from .jsonschema import json_objections, read_json_schema
from .objections import Objection
from .schema import SchemaType

Policy = Literal["STRICT", "LENIENT"]
EXTRA = "pip install 'bitvelocity[registry]'"


@dataclass(frozen=True, slots=True)
class Import:
    """A schema that another uses, and the name by which it does."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A schema that was read. `text` is its one printed form, `normal` the one in which order is no matter."""

    text: str
    normal: str
    content: Any


class Form(Protocol):
    """One kind of schema. `imports` come in such an order that each follows those that it uses itself."""

    def read(self, text: str, imports: Sequence[Import]) -> Parsed: ...

    def objections(self, reader: Parsed, writer: Parsed, policy: Policy) -> tuple[Objection, ...]: ...


class _Avro:
    def read(self, text: str, imports: Sequence[Import]) -> Parsed:
        schema = read_avro(text, [one.text for one in imports])
        return Parsed(schema.text, schema.normal, schema.root)

    def objections(self, reader: Parsed, writer: Parsed, policy: Policy) -> tuple[Objection, ...]:  # noqa: ARG002
        return avro_objections(reader.content, writer.content)


class _Json:
    def read(self, text: str, imports: Sequence[Import]) -> Parsed:
        schema = read_json_schema(text, {one.name: one.text for one in imports})
        return Parsed(schema.text, schema.normal, schema)

    def objections(self, reader: Parsed, writer: Parsed, policy: Policy) -> tuple[Objection, ...]:
        return json_objections(reader.content, writer.content, lenient=policy == "LENIENT")


class _Protobuf:
    def read(self, text: str, imports: Sequence[Import]) -> Parsed:
        schema = protobuf().read_proto(text, [(one.name, one.text) for one in imports])
        return Parsed(schema.text, schema.normal, schema.file)

    def objections(self, reader: Parsed, writer: Parsed, policy: Policy) -> tuple[Objection, ...]:  # noqa: ARG002
        found: tuple[Objection, ...] = protobuf().proto_objections(reader.content, writer.content)
        return found


def protobuf() -> Any:
    """The part that needs Google's library, loaded when it is needed."""
    try:
        return import_module(".protobuf", __package__)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("google"):
            raise MissingExtraError("Protobuf schemas need the library protobuf.", remedy=EXTRA) from error
        raise


def descriptor_of(text: str, imports: Sequence[Import]) -> str:
    """A Protobuf file's descriptor in base64, of its text; one that is a descriptor already stays."""
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return str(protobuf().serialized(_Protobuf().read(text, imports).content))
    return text


def renumbered(text: str, versions: Iterable[tuple[str, Sequence[Import]]]) -> tuple[str, Mapping[str, int]]:
    """A Protobuf file as the next version of these, the newest first, and the numbers of its fields by their paths."""
    older = ((held, [(one.name, one.text) for one in imports]) for held, imports in versions)
    found: tuple[str, Mapping[str, int]] = protobuf().continued(text, older)
    return found


FORMS: Mapping[SchemaType, Form] = {"AVRO": _Avro(), "JSON": _Json(), "PROTOBUF": _Protobuf()}
