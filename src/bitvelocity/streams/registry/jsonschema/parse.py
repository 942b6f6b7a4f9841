"""Text becomes a JSON Schema whose references lead somewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ..refusals import invalid_schema

TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_SCHEMAS = ("additionalProperties", "additionalItems", "not", "if", "then", "else", "contains", "propertyNames")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")


@dataclass(frozen=True, slots=True, eq=False)
class JsonSchema:
    """A schema that was read. `documents` are those that its `$ref`s may name, this one under the empty name."""

    root: Any
    text: str
    normal: str
    documents: Mapping[str, Any]

    def target(self, reference: str, document: str) -> tuple[Any, str]:
        """Where a `$ref` in a document leads: the schema, and the document that it stands in."""
        name, _, fragment = reference.partition("#")
        where = self._document(name, document)
        schema = self.documents[where]
        if fragment and not fragment.startswith("/"):
            return _anchored(schema, fragment), where
        for step in fragment.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            schema = schema[int(key)] if isinstance(schema, list) else schema[key]
        return schema, where

    def _document(self, name: str, document: str) -> str:
        if not name or name == _own_id(self.documents[document]):
            return document
        if name in self.documents:
            return name
        tails = [known for known in self.documents if known and name.endswith(f"/{known.lstrip('/')}")]
        if not tails:
            raise KeyError(name)
        return max(tails, key=len)


def read_json_schema(text: str, imports: Mapping[str, str] | None = None) -> JsonSchema:
    """The schema in a text; `imports` are documents by the name that `$ref` uses."""
    root = _load(text)
    documents: dict[str, Any] = {"": root}
    for name, other in (imports or {}).items():
        documents[name] = _load(other)
        if own := _own_id(documents[name]):
            documents.setdefault(own, documents[name])
    schema = JsonSchema(root, _dumps(root), _dumps(root, sort=True), documents)
    for one, path in subschemas(root, "#"):
        _check(one, path, schema)
    return schema


def _load(text: str) -> Any:
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_schema(f"this is no JSON: {error}") from error
    if not isinstance(root, (dict, bool)):
        raise invalid_schema("a JSON Schema is an object, true or false")
    return root


def _dumps(value: Any, *, sort: bool = False) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort)


def _own_id(document: Any) -> str | None:
    if not isinstance(document, dict):
        return None
    own = document.get("$id") or document.get("id")
    return own.rstrip("#") if isinstance(own, str) else None


def subschemas(schema: Any, path: str) -> Iterator[tuple[Any, str]]:
    """A schema and all that stand in it, each with its path."""
    yield schema, path
    if not isinstance(schema, dict):
        return
    for key in _SCHEMAS:
        if key in schema:
            yield from subschemas(schema[key], f"{path}/{key}")
    for key in _MAPS:
        if isinstance(schema.get(key), dict):
            for name, one in schema[key].items():
                yield from subschemas(one, f"{path}/{key}/{name}")
    for key in (*_LISTS, "items"):
        held = schema.get(key)
        for index, one in enumerate(held) if isinstance(held, list) else ():
            yield from subschemas(one, f"{path}/{key}/{index}")
        if key == "items" and isinstance(held, (dict, bool)):
            yield from subschemas(held, f"{path}/items")


def _check(schema: Any, path: str, whole: JsonSchema) -> None:
    if not isinstance(schema, (dict, bool)):
        raise invalid_schema(f"at {path}: a schema is an object, true or false")
    if isinstance(schema, bool):
        return
    kinds = schema.get("type", [])
    unknown = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind not in TYPES]
    if unknown:
        raise invalid_schema(f"at {path}: there is no type {unknown[0]!r}")
    for key in _MAPS:
        if not isinstance(schema.get(key, {}), dict):
            raise invalid_schema(f"at {path}: {key} is no object")
    for key in (*_LISTS, "required", "enum"):
        if not isinstance(schema.get(key, []), list) and not (key == "required" and isinstance(schema[key], bool)):
            raise invalid_schema(f"at {path}: {key} is no list")
    if isinstance(reference := schema.get("$ref"), str):
        try:
            whole.target(reference, "")
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise invalid_schema(f"at {path}: {reference!r} leads nowhere") from error


def _anchored(document: Any, anchor: str) -> Any:
    for one, _ in subschemas(document, "#"):
        if isinstance(one, dict) and anchor in (one.get("$anchor"), str(one.get("$id", "")).lstrip("#")):
            return one
    raise KeyError(anchor)
