"""Specs become the Python text that declares them: what `bv adopt` writes."""

from __future__ import annotations

import ast
import inspect
import keyword
import re
from collections.abc import Iterator, Sequence

from . import markers
from .audit import AUDIT_COLUMNS, STANDARD
from .entity import TAKEN, default_name
from .fields import MONEY_WORDS
from .kinds import PYTHON_KINDS
from .python_text import WIDTH, call, listed, text, tuple_of, wrapped
from .spec import Column, EntitySpec, Reference
from .types import Kind, Type

_IMPORTS: dict[str, tuple[str, ...]] = {
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
    "typing": ("Annotated", "Any", "Literal"),
    "uuid": ("UUID",),
    "bitvelocity.contracts": (
        "Entity", "Index", "Partition", "Reference",
        *(cls.__name__ for cls in markers.Marker.__subclasses__()),
    ),
}  # fmt: skip
_IMPORTED = frozenset(name for names in _IMPORTS.values() for name in names)
_TYPE_NAMES = frozenset(_IMPORTED | {cls.__name__ for cls in PYTHON_KINDS})
_NUMBERS = frozenset({"int16", "int32", "int64", "float32", "float64", "decimal"})
_WRITTEN: dict[Kind, tuple[str, ...]] = {
    **{kind: (cls.__name__,) for cls, kind in PYTHON_KINDS.items()},
    "int16": ("int", "Bits(16)"),
    "int32": ("int", "Bits(32)"),
    "float32": ("float", "Bits(32)"),
    "timestamp": ("datetime", "Naive()"),
    "timetz": ("time", "Zoned()"),
    "json": ("Any", "Json(binary=False)"),
    "jsonb": ("Any", "Json()"),
}


def render_entities(specs: Sequence[EntitySpec]) -> str:
    """The text of an `entities.py` that declares exactly these specs: loading it gives equal fingerprints.

    Odd names become attributes with `Name(...)`. A spec that no declaration can give, such as a reference to a table without
    schema, is written as near as can be, and says what is wrong when it is loaded.
    """
    taken = set(_TYPE_NAMES)
    bodies = [_class(spec, _unused(_class_name(spec.name), taken)) for spec in specs]
    classes = "\n\n".join(bodies)
    return f'"""The entities of this project."""\n\n{_imports(classes)}\n\n{classes}'


def _imports(classes: str) -> str:
    used = {node.id for node in ast.walk(ast.parse(classes)) if isinstance(node, ast.Name)}
    lines: list[str] = []
    for module, names in _IMPORTS.items():
        wanted = sorted(used.intersection(names))
        if module.startswith("bitvelocity"):
            lines.append("")
        if wanted:
            flat = f"from {module} import {', '.join(wanted)}"
            fits = len(flat) <= WIDTH
            lines.append(flat if fits else wrapped(f"from {module} import ", wanted, brackets=("(", ")")))
    return "\n".join(lines).strip("\n") + "\n"


# Names ----------------------------------------------------------------------------------------------------


def _class_name(name: str) -> str:
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return camel if camel[:1].isalpha() else f"Table{camel}"


def _attribute(name: str) -> str:
    """A Python name for a column; the column's own where that is one."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name).lstrip("_") or "column"
    if not plain[0].isalpha():
        plain = f"column_{plain}"
    reserved = keyword.iskeyword(plain) or plain in _TYPE_NAMES or plain in TAKEN
    return f"{plain}_" if reserved else plain


def _unused(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate)
    return candidate


# Class ----------------------------------------------------------------------------------------------------


def _class(spec: EntitySpec, class_name: str) -> str:
    written = _written_columns(spec)
    marked = _marked_key(spec, written)
    in_fields = _field_references(spec, written)
    alone = _field_uniques(spec, written)
    doc = _docstring(spec.doc)
    said = ["Entity", *_keywords(spec, key_in_fields=marked is not None, references=len(in_fields), uniques=len(alone))]
    if spec.doc and not doc:
        said.append(f"doc={text(spec.doc)}")
    lines = [wrapped(f"class {class_name}", said, brackets=("(", ")")) + ":"]
    if doc:
        lines += [doc, ""] if written else [doc]
    if not doc and not written:
        lines.append("    ...")
    taken: set[str] = set()
    for column in written:
        places = _places(column, spec, key=marked or (), unique=alone, references=in_fields)
        marks = [*places, *_given(column, spec), *_rules(column, spec)]
        lines.append(_field(column, _unused(_attribute(column.name), taken), marks))
    return "\n".join(lines) + "\n"


def _written_columns(spec: EntitySpec) -> tuple[Column, ...]:
    """All columns but the standard audit columns at the end, which a declaration has by itself."""
    order = list(AUDIT_COLUMNS)
    end = len(spec.columns)
    while spec.audit and end > 0 and spec.columns[end - 1] in order:
        order = order[: order.index(spec.columns[end - 1])]
        end -= 1
    return spec.columns[:end]


def _marked_key(spec: EntitySpec, written: Sequence[Column]) -> tuple[str, ...] | None:
    """The columns to mark `Key()`, or None when only `key=` says it."""
    marked = tuple(column.name for column in written if column.name in spec.key)
    if marked and marked == spec.key:
        return marked
    time = spec.partition.column if spec.partition and spec.partition.by == "time" else None
    others = tuple(name for name in marked if name != time)
    return others if others and time and (*others, time) == spec.key else None


def _field_references(spec: EntitySpec, written: Sequence[Column]) -> dict[str, Reference]:
    """The leading references that `Ref(...)` can say, in the order of the columns."""
    places = {column.name: place for place, column in enumerate(written)}
    found: dict[str, Reference] = {}
    last = -1
    for reference in spec.references:
        place = places.get(reference.columns[0], -1)
        if len(reference.columns) != 1 or place <= last or not _target(reference, spec):
            break
        found[reference.columns[0]], last = reference, place
    return found


def _field_uniques(spec: EntitySpec, written: Sequence[Column]) -> tuple[str, ...]:
    """The leading unique constraints that `Unique()` can say, in the order of the columns."""
    names = [column.name for column in written]
    found: list[str] = []
    for columns in spec.unique:
        after = names[names.index(found[-1]) + 1 :] if found else names
        if len(columns) != 1 or columns[0] not in after:
            break
        found.append(columns[0])
    return tuple(found)


def _target(reference: Reference, spec: EntitySpec) -> str | None:
    parts = [*reference.to.split("."), *reference.to_columns]
    if len(parts) != 3 or "" in parts or "." in parts[2]:
        return None
    return ".".join(parts[1:] if parts[0] == spec.schema else parts)


def _keywords(spec: EntitySpec, *, key_in_fields: bool, references: int, uniques: int) -> Iterator[str]:
    """`references`, `uniques`: how many of them the fields say already."""
    yield f"table={text(spec.table)}"
    if spec.schema != "public":
        yield f"schema={text(spec.schema)}"
    if spec.name != default_name(spec.table):
        yield f"name={text(spec.name)}"
    if not key_in_fields:
        yield f"key={tuple_of(spec.key)}"
    if spec.references[references:]:
        yield listed("references", [call(reference, indent=8) for reference in spec.references[references:]])
    if spec.unique[uniques:]:
        yield listed("unique", [tuple_of(columns) for columns in spec.unique[uniques:]])
    if spec.indexes:
        yield listed("indexes", [call(index, indent=8) for index in spec.indexes])
    if spec.partition is not None:
        yield f"partition={call(spec.partition, indent=4)}"
    if spec.audit_trail is not None:
        yield f"audit_trail={text(spec.audit_trail)}"
    if spec.audit_changed_only:
        yield "audit_changed_only=True"
    if spec.audit_context != ("fallback" if spec.audit_trail else "off"):
        yield f"audit_context={text(spec.audit_context)}"
    if spec.replica_identity != "full":
        yield f"replica_identity={text(spec.replica_identity)}"
    yield from (f"{name}=False" for name in ("audit", "managed") if not getattr(spec, name))
    yield from (f"{name}={text(said)}" for name in ("retention", "owner") if (said := getattr(spec, name)) is not None)


def _docstring(doc: str) -> str | None:
    """The docstring's lines, or None when Python would not give the same text back."""
    if not doc or '"""' in doc or doc[-1] == '"' or not all(char.isprintable() or char == "\n" for char in doc):
        return None
    escaped = doc.replace("\\", "\\\\")
    body = "\n".join(f"    {line}" if line else "" for line in escaped.split("\n")).lstrip(" ")
    quoted = f'"""{body}"""'
    return f"    {quoted}" if inspect.cleandoc(str(ast.literal_eval(quoted))) == doc else None


# Field ----------------------------------------------------------------------------------------------------


def _field(column: Column, attribute: str, marks: Sequence[str]) -> str:
    python, *shape = _type(column)
    optional = f"{python} | None" if column.nullable else python
    named = [f"Name({text(column.name)})"] if attribute != column.name else []
    inside = [*named, *shape, *marks]
    if not inside:
        return f"    {attribute}: {optional}"
    return "    " + wrapped(f"{attribute}: Annotated", [optional, *inside], brackets=("[", "]"), indent=4)


def _type(column: Column) -> tuple[str, ...]:
    if column.choices:
        return (_literal(column.choices), *_type_of(column.type)[1:])
    return _type_of(column.type)


def _type_of(of: Type) -> tuple[str, ...]:
    said: tuple[str, ...]
    match of.kind:
        case "decimal":
            said = ("Decimal", "Numeric()" if of.precision is None else f"Numeric({of.precision}, {of.scale})")
        case "text":
            said = ("str", f"Length({of.length})") if of.length else ("str",)
        case "char":
            said = ("str", f"Length({of.length}, fixed=True)" if of.length else "Length(fixed=True)")
        case "enum":
            said = (_literal(of.choices), f"Native({text(of.native or '')})")
        case "other":
            said = ("Any", f"Native({text(of.native or '')})")
        case "array":
            python, *shape = _type_of(of.item or Type("text"))
            said = (f"list[Annotated[{', '.join((python, *shape))}]]" if shape else f"list[{python}]",)
        case kind:
            said = _WRITTEN[kind]
    return said


def _literal(choices: Sequence[str]) -> str:
    return f"Literal[{', '.join(map(text, choices)) or '()'}]"


def _places(
    column: Column, spec: EntitySpec, *, key: Sequence[str], unique: Sequence[str], references: dict[str, Reference]
) -> Iterator[str]:
    if column.name in key:
        yield "Key()"
    if column.name in unique:
        yield "Unique()"
    reference = references.get(column.name)
    if reference:
        rest = "" if reference.on_delete == "no action" else f", on_delete={text(reference.on_delete)}"
        yield f"Ref({text(_target(reference, spec) or '')}{rest})"


def _given(column: Column, spec: EntitySpec) -> Iterator[str]:
    standard = STANDARD.get(column.name) if spec.audit else None
    if column.default != (standard.default if standard else None):
        yield f"Default({'None' if column.default is None else text(column.default)})"
    if column.identity:
        yield "Identity()"
    if column.generated is not None:
        yield f"Generated({text(column.generated)})"


def _rules(column: Column, spec: EntitySpec) -> Iterator[str]:
    standard = STANDARD.get(column.name) if spec.audit else None
    bounds = [("min", column.minimum), ("max", column.maximum)]
    said = [f"{side}={_number(printed, column.type)}" for side, printed in bounds if printed is not None]
    if said:
        yield f"Range({', '.join(said)})"
    if column.pattern is not None:
        yield f"Pattern({text(column.pattern)})"
    if column.pii is not None:
        yield f"Pii({text(column.pii)})"
    if spec.managed and column.type.kind in ("float32", "float64") and MONEY_WORDS & set(column.name.lower().split("_")):
        yield "Measured()"
    if column.doc != (standard.doc if standard else ""):
        yield f"Doc({text(column.doc)})"


def _number(printed: str, of: Type) -> str:
    """Whole numbers bare, every other bound as text, so that not a digit changes."""
    return printed if of.kind in _NUMBERS and re.fullmatch(r"0|-?[1-9]\d*", printed) else text(printed)
