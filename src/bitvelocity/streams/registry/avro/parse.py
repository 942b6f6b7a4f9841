"""Text becomes nodes, and the text in the form that Avro's own library prints: what is wrong is said with its path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ..meanings import DEBEZIUM_TIMES, Meaning
from ..refusals import invalid_schema
from .defaults import fits
from .nodes import NAMED, NO_DEFAULT, PRIMITIVES, AvroSchema, Field, Node

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ORDER = {
    "record": ("type", "name", "namespace", "doc", "fields"),
    "error": ("type", "name", "namespace", "doc", "fields"),
    "enum": ("type", "name", "namespace", "doc", "symbols", "default"),
    "fixed": ("type", "name", "namespace", "doc", "size"),
    "array": ("type", "items"),
    "map": ("type", "values"),
}
_FIELD_ORDER = ("name", "type", "doc", "default", "order")


def read_avro(text: str, imports: Iterable[str] = ()) -> AvroSchema:
    """The schema in a text; `imports` are texts whose named types it may use, each after those that it uses itself."""
    reader = _Reader()
    for one in imports:
        reader.read(_json(one), "", "")
    root, printed = reader.read(_json(text), "", "")
    return AvroSchema(root, _dumps(printed), _dumps(_sorted(printed)))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise invalid_schema(f"this is no JSON: {error}") from error
    except RecursionError as error:
        raise invalid_schema("it is nested too deeply") from error


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _sorted(value: Any) -> Any:
    """Attributes that Avro does not name, in the order of the alphabet."""
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    if not isinstance(value, dict):
        return value
    known = _FIELD_ORDER if "type" in value and "name" in value and not _is_named(value) else _order(value)
    ordered = [*(key for key in known if key in value), *sorted(value.keys() - set(known))]
    return {key: value[key] if key == "default" else _sorted(value[key]) for key in ordered}


def _is_named(value: dict[str, Any]) -> bool:
    kind = value["type"]
    return isinstance(kind, str) and kind in _ORDER and ("fields" in value or "symbols" in value or "size" in value)


def _order(value: dict[str, Any]) -> tuple[str, ...]:
    kind = value.get("type")
    return _ORDER.get(kind, ("type",)) if isinstance(kind, str) else ("type",)


def _wrong(path: str, what: str) -> Exception:
    return invalid_schema(f"at {path or '/'}: {what}")


class _Reader:
    """Names seen so far; a definition may use itself."""

    def __init__(self) -> None:
        self._names: dict[str, Node] = {}

    def read(self, value: Any, space: str, path: str) -> tuple[Node, Any]:
        """A type and its printed form. `space` is the namespace that stands around it."""
        match value:
            case str():
                return self._name(value, space, path)
            case list():
                return self._union(value, space, path)
            case {"type": str(kind)} if kind in _ORDER:
                return self._complex("record" if kind == "error" else kind, value, space, path=path)
            case {"type": str() | dict() | list() as inner}:
                return self._wrapped(inner, value, space, path=path)
            case _:
                raise _wrong(path, f"{_dumps(value)[:60]} is no type")

    def _name(self, value: str, space: str, path: str) -> tuple[Node, Any]:
        if value in PRIMITIVES:
            return Node(value), value
        for full in (value if "." in value or not space else f"{space}.{value}", value):
            if full in self._names:
                return self._names[full], full[len(space) + 1 :] if space and _space(full) == space else full
        raise _wrong(path, f"the type {value!r} is not known")

    def _wrapped(self, inner: Any, value: dict[str, Any], space: str, *, path: str) -> tuple[Node, Any]:
        """A primitive with attributes; or a type for no reason in an object of its own."""
        node, printed = self.read(inner, space, path)
        more = {key: part for key, part in value.items() if key != "type"}
        if not more:
            return node, printed
        if isinstance(inner, str) and inner in PRIMITIVES:
            _give_meaning(node, more, path)
            return node, {"type": printed, **more}
        return node, printed

    def _union(self, value: list[Any], space: str, path: str) -> tuple[Node, Any]:
        read = [self.read(part, space, path) for part in value]
        seen: set[str] = set()
        for node, _ in read:
            if node.type == "union":
                raise _wrong(path, "a union stands directly in a union")
            if (key := node.name or node.type) in seen:
                raise _wrong(path, f"a union has {key} twice")
            seen.add(key)
        return Node("union", branches=tuple(node for node, _ in read)), [printed for _, printed in read]

    def _complex(self, kind: str, value: dict[str, Any], space: str, *, path: str) -> tuple[Node, Any]:
        node = Node(kind)
        printed: dict[str, Any] = {"type": value["type"]}
        if kind in NAMED:
            space = self._declare(node, value, space, printed=printed, path=path)
        match kind:
            case "record":
                printed["fields"] = self._fields(node, value.get("fields"), space, path=path)
            case "enum":
                printed |= _read_symbols(node, value, path)
            case "fixed":
                node.size = printed["size"] = _whole(value.get("size"), path, "size")
            case "array":
                node.item, printed["items"] = self.read(value.get("items"), space, f"{path}[]")
            case "map":
                node.item, printed["values"] = self.read(value.get("values"), space, f"{path}{{}}")
        more = {key: part for key, part in value.items() if key not in printed and key not in ("name", "namespace")}
        _give_meaning(node, more, path)
        return node, {**printed, **more}

    def _declare(
        self, node: Node, value: dict[str, Any], space: str, *, printed: dict[str, Any], path: str
    ) -> str:
        """The name of a named type is known from here on; gives the namespace within it."""
        node.name = _full_name(value.get("name"), value.get("namespace"), space, path)
        if node.name in self._names:
            raise _wrong(path, f"the name {node.name} is defined twice")
        self._names[node.name] = node
        own = _space(node.name)
        aliases = value.get("aliases") or ()
        node.aliases = tuple(alias if "." in alias or not own else f"{own}.{alias}" for alias in aliases)
        printed["name"] = node.short_name
        if own != space:
            printed["namespace"] = own
        if "doc" in value:
            printed["doc"] = value["doc"]
        return own

    def _fields(self, node: Node, value: Any, space: str, *, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong(path, "a record needs fields, a list")
        printed = []
        for one in value:
            if not isinstance(one, dict) or not isinstance(one.get("name"), str) or "type" not in one:
                raise _wrong(path, "a field needs a name and a type")
            printed.append(self._field(node, one, space, path=f"{path}.{one['name']}" if path else one["name"]))
        if len({field.name for field in node.fields}) < len(node.fields):
            raise _wrong(path, f"{node.name} has two fields of one name")
        return printed

    def _field(self, record: Node, value: dict[str, Any], space: str, *, path: str) -> dict[str, Any]:
        if not _NAME.fullmatch(value["name"]):
            raise _wrong(path, f"{value['name']!r} is no name of a field")
        node, printed = self.read(value["type"], space, path)
        default = value.get("default", NO_DEFAULT)
        if default is not NO_DEFAULT and not fits(node, default):
            raise _wrong(path, f"the default {_dumps(default)[:60]} is no {node}")
        record.fields.append(Field(value["name"], node, default, tuple(value.get("aliases") or ())))
        shown = {**value, "type": printed}
        ordered = [*(key for key in _FIELD_ORDER if key in shown), *(key for key in shown if key not in _FIELD_ORDER)]
        return {key: shown[key] for key in ordered}


def _space(full: str) -> str:
    return full.rpartition(".")[0]


def _full_name(name: Any, namespace: Any, space: str, path: str) -> str:
    if not isinstance(name, str) or not (namespace is None or isinstance(namespace, str)):
        raise _wrong(path, "a named type needs a name")
    full = name
    if "." not in name and (own := space if namespace is None else namespace):
        full = f"{own}.{name}"
    if not all(map(_NAME.fullmatch, full.split("."))):
        raise _wrong(path, f"{full!r} is no name of a type")
    if full in PRIMITIVES:
        raise _wrong(path, f"{full!r} is the name of a primitive type")
    return full


def _read_symbols(node: Node, value: dict[str, Any], path: str) -> dict[str, Any]:
    symbols = value.get("symbols")
    if not isinstance(symbols, list) or not all(isinstance(one, str) and _NAME.fullmatch(one) for one in symbols):
        raise _wrong(path, "an enum needs symbols, a list of names")
    if len(set(symbols)) < len(symbols):
        raise _wrong(path, "an enum has a symbol twice")
    node.symbols = tuple(symbols)
    if "default" not in value:
        return {"symbols": symbols}
    if value["default"] not in symbols:
        raise _wrong(path, f"the default {value['default']!r} is none of the symbols")
    node.default = value["default"]
    return {"symbols": symbols, "default": node.default}


def _whole(value: Any, path: str, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(path, f"{what} must be a whole number")
    return value


def _give_meaning(node: Node, more: dict[str, Any], path: str) -> None:
    """Logical types, and Debezium's names for times that Avro has no logical type for."""
    meaning, other = more.get("logicalType"), more.get("connect.name")
    if meaning == "decimal" and node.type in ("bytes", "fixed"):
        precision = _whole(more.get("precision"), path, "the precision of a decimal")
        scale = _whole(more.get("scale", 0), path, "the scale of a decimal")
        if not precision >= max(1, scale):
            raise _wrong(path, f"a decimal of {precision} digits cannot have {scale} after the point")
        node.meaning = Meaning("decimal", precision, scale)
    elif isinstance(meaning, str) and meaning not in ("decimal", "uuid"):
        node.meaning = Meaning(meaning)
    elif isinstance(other, str) and other.startswith(DEBEZIUM_TIMES):
        node.meaning = Meaning(other)
