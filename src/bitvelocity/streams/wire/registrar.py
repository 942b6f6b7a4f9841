"""Schemas of records in a registry: registered when they are first written, looked up when they are first read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Literal
from urllib.parse import quote

from ...changes.formats import SchemaText
from ...changes.formats.notation import Registered, SchemaUse
from ...errors import RegistryError
from ..registry import Caller, Import, descriptor_of, newest_first, renumbered, texts_of

Naming = Literal["topic", "record", "topic-record"]
"""What a subject is called: `orders-value`, `shop.Order`, or `orders-shop.Order`."""

_MAGIC, _MAGIC_GUID = b"\x00", b"\x01"


def subject_of(use: SchemaUse, naming: Naming, context: str = "") -> str:
    """The subject of a schema. One of another context than the registry's own has that before it."""
    by_topic = f"{use.topic}-{'key' if use.is_key else 'value'}"
    plain = {"topic": by_topic, "record": use.name, "topic-record": f"{use.topic}-{use.name}"}[naming]
    return f":.{context}:{plain}" if context else plain


class Registrar:
    """Asks a registry for each schema once.

    - `register`: without it, a schema that the registry does not have is an error, and nothing is written to it.
    - `guids`: schemas are named in headers, by GUID, and values have no frame.
    - `url`: where readers reach the registry, for `ce_dataschema`.
    """

    def __init__(
        self, caller: Caller, *, naming: Naming = "topic", context: str = "", register: bool = False, guids: bool = False,
        url: str = "",
    ) -> None:  # fmt: skip
        self._caller, self._naming, self._context = caller, naming, context
        self._may_register, self._guids, self._url = register, guids, url.rstrip("/")
        self._written: dict[tuple[str, str], Registered] = {}
        self._read: dict[bytes, SchemaText] = {}

    def register(self, use: SchemaUse) -> Registered:
        """What names the schema in records (`changes.formats.notation.Register`)."""
        subject = subject_of(use, self._naming, self._context)
        place = (subject, use.text)
        if place not in self._written:
            text, numbers = self._continued(subject, use)
            found = self._found(subject, replace(use, text=text))
            self._written[place] = replace(self._named(found, use), numbers=numbers)
        return self._written[place]

    def text(self, use: SchemaUse) -> str:
        """The text that this schema is registered by: fields of Protobuf keep the numbers that the subject gave them."""
        return self._continued(subject_of(use, self._naming, self._context), use)[0]

    def _continued(self, subject: str, use: SchemaUse) -> tuple[str, Mapping[str, int]]:
        versions = self._versions(subject) if use.kind == "PROTOBUF" else iter(())
        newest = next(versions, None)
        return (use.text, {}) if newest is None else renumbered(use.text, chain((newest,), versions))

    def _versions(self, subject: str) -> Iterator[tuple[str, list[Import]]]:
        """Files of Protobuf under a subject, with those that they import."""
        for held in newest_first(self._caller, subject):
            if held.get("schemaType") == "PROTOBUF":
                imports = texts_of(held, lambda path: self._caller.ask("GET", path))
                yield str(held["schema"]), [Import(name, text) for name, text in imports.items()]

    def _found(self, subject: str, use: SchemaUse) -> Any:
        path = f"subjects/{quote(subject, safe='')}"
        body = {"schema": use.text, "schemaType": use.kind}
        if self._may_register:
            found = self._caller.ask("POST", f"{path}/versions", body)
            if not self._guids or "guid" in found:
                return found
        try:
            return self._caller.ask("POST", path, body)
        except RegistryError as error:
            if error.code not in ("40401", "40403"):
                raise
            raise RegistryError(
                f"The registry has no such schema under {subject}, and this writer may not register any.",
                entity=use.topic, safe="Nothing was written.", code=error.code,
                remedy="bitvelocity schema register, or let the writer do it: [registry] register = true",
            ) from error  # fmt: skip

    def _named(self, found: Any, use: SchemaUse) -> Registered:
        number = int(found["id"])
        url = f"{self._url}/schemas/ids/{number}" if self._url else ""
        # for Protobuf it is said too which message of the schema it is: the first
        index = b"\x00" if use.kind == "PROTOBUF" else b""
        if self._guids:
            if "guid" not in found:
                raise RegistryError(
                    "The registry gives schemas no GUIDs.", entity=use.topic, remedy="Name schemas by their ids."
                )
            return Registered(url=url, header=_MAGIC_GUID + uuid.UUID(str(found["guid"])).bytes + index)
        return Registered(frame=_MAGIC + number.to_bytes(4, "big") + index, url=url)

    def look_up(self, name: bytes) -> SchemaText:
        """The schema that a record names (`changes.formats.Lookup`)."""
        if name not in self._read:
            where, said = f"schemas/guids/{uuid.UUID(bytes=name)}" if len(name) == 16 else "", list[str]()
            if not where:
                where = f"schemas/ids/{int.from_bytes(name, 'big')}"
                said = [f"subject=:.{self._context}:"] if self._context else []
            found = self._described(where, *said)
            references = texts_of(found, self._described, _readable)
            self._read[name] = SchemaText(found.get("schemaType", "AVRO"), _readable(found, references), references)
        return self._read[name]

    def _described(self, path: str, *said: str) -> Any:
        """A schema; of Protobuf its descriptor, if the registry makes one."""
        found = self._caller.ask("GET", "?".join((path, *filter(None, ["&".join(said)]))))
        if found.get("schemaType") == "PROTOBUF":
            found = {**found, "schema": self._caller.ask("GET", f"{path}?{'&'.join((*said, 'format=serialized'))}")["schema"]}
        return found


def _readable(found: Any, references: Mapping[str, str]) -> str:
    """The schema as a decoder takes it: of Protobuf a descriptor, made here where the registry gives the text alone."""
    if found.get("schemaType") != "PROTOBUF":
        return str(found["schema"])
    return descriptor_of(found["schema"], [Import(name, text) for name, text in references.items()])


__all__ = ["Naming", "Registrar", "subject_of"]
