"""`Entity`: a class statement that declares a business table."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, ClassVar, TypedDict, Unpack

from bitvelocity.errors import DeclarationError

from .audit import AUDIT_COLUMNS, STANDARD
from .checks import spec_problems
from .fields import MISSING, UNKNOWN, Field, Written, read_field, source_name
from .hints import Hint, is_column, resolve, take_apart, written_fields
from .markers import Ref
from .problems import Problem, Problems, Wrong
from .spec import AuditContext, AuditTrail, Column, EntitySpec, Identity, Index, Partition, Reference


class EntityKeywords(TypedDict, total=False):
    """The keywords of an entity's class statement; all may be left out."""

    table: str
    """The table; default: the class name in snake_case."""
    schema: str
    """Its schema; default "public"."""
    name: str
    """Its name in the lake; default: the table's, made plain."""
    key: Sequence[str]
    """The primary key, instead of `Key()` on fields; `()` says that there is none."""
    references: Sequence[Reference]
    """Foreign keys of several columns; after those of `Ref(...)`."""
    unique: Sequence[str | Sequence[str]]
    """Unique constraints, each one column or several; after those of `Unique()`."""
    indexes: Sequence[Index]
    partition: Partition | None
    audit: bool
    """False leaves the standard audit columns out."""
    audit_context: AuditContext
    """ "strict": a write without `bv.audit(...)` fails; "fallback": it is told of the session; "off": let be."""
    audit_trail: AuditTrail | None
    """A table `<table>_audit` of every change: "cdc" fills it from change capture, "sync" by a statement trigger."""
    audit_changed_only: bool
    """The trail of an update has only the columns that it changed."""
    replica_identity: Identity
    managed: bool
    """False: the table is somebody else's, and `apply` never alters it."""
    retention: str | None
    owner: str | None
    doc: str
    """Instead of the docstring."""


class Entity:
    """A business table, declared by subclassing; `Order.spec` is its frozen form.

    The class is a declaration and never has instances. Shared fields go into a plain class beside it:
    `class Order(Priced, Entity, table="orders")`.
    """

    spec: ClassVar[EntitySpec]

    def __init_subclass__(cls, **keywords: Unpack[EntityKeywords]) -> None:
        super().__init_subclass__()
        cls.spec = _declare(cls, keywords)

    def __init__(self) -> None:
        name = type(self).__name__
        raise DeclarationError(
            f"{name} declares a table and has no instances", entity=self.spec.table, remedy=f"read {name}.spec"
        )


TAKEN = frozenset((*dir(Entity), *inspect.get_annotations(Entity)))
"""Names that no field may have as an attribute."""


def spec_of(entity: type[Entity]) -> EntitySpec:
    """The frozen form of an entity class."""
    return entity.spec


def default_table(class_name: str) -> str:
    """`OrderItem` -> `order_item`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()


def default_name(table: str) -> str:
    """A table's name made plain for the lake: `"Order Line"` -> `order_line`."""
    plain = re.sub(r"[^a-z0-9]+", "_", table.lower()).strip("_")
    return plain[:63].rstrip("_") or "entity"


def _declare(cls: type, keywords: Mapping[str, Any]) -> EntitySpec:
    problems = Problems(cls.__name__)
    said = _checked(keywords, problems)
    _refuse_inheritance(cls, problems)
    fields = _fields(cls, said, problems)
    spec = _assemble(cls, said, fields, problems=problems)
    attributes = {field.column.name: field.attribute for field in fields}
    unread = set(problems.failed)
    for problem in spec_problems(spec):
        field = attributes.get(problem.field, problem.field) if problem.field else None
        if field not in unread:
            problems.add(replace(problem, field=field))
    problems.raise_if_any(spec.table)
    return spec


# Keywords -------------------------------------------------------------------------------------------------

_KEYWORD_TYPES: dict[str, tuple[type, ...]] = {
    "table": (str,), "schema": (str,), "name": (str,), "key": (tuple, list), "references": (tuple, list),
    "unique": (tuple, list), "indexes": (tuple, list), "partition": (Partition, type(None)), "audit": (bool,), "audit_context": (str,),
    "audit_trail": (str, type(None)), "audit_changed_only": (bool,),
    "replica_identity": (str,), "managed": (bool,), "retention": (str, type(None)), "owner": (str, type(None)),
    "doc": (str,),
}  # fmt: skip
_ITEM_TYPES: dict[str, tuple[type, ...]] = {
    "key": (str,), "references": (Reference,), "indexes": (Index,), "unique": (str, tuple, list),
}  # fmt: skip


def _checked(keywords: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    good: dict[str, Any] = {}
    for name, value in keywords.items():
        with problems.at():
            if name not in _KEYWORD_TYPES:
                near = get_close_matches(name, _KEYWORD_TYPES, n=1)
                remedy = f"did you mean {near[0]}=?" if near else f"the keywords are {', '.join(_KEYWORD_TYPES)}"
                raise Wrong(f"there is no keyword {name}=", remedy)
            _check_keyword(name, value)
            good[name] = value
    return good


def _check_keyword(name: str, value: Any) -> None:
    wanted = _KEYWORD_TYPES[name]
    if not isinstance(value, wanted):
        raise Wrong(f"{name}= has {value!r}", f"give {_type_words(wanted)}")
    items = _ITEM_TYPES.get(name, (object,))
    for item in value if isinstance(value, (tuple, list)) else ():
        if not isinstance(item, items):
            raise Wrong(f"{name}= holds {item!r}", f"give {_type_words(items)} in it")


def _type_words(types: tuple[type, ...]) -> str:
    return " or ".join("None" if cls is type(None) else cls.__name__ for cls in types)


def _refuse_inheritance(cls: type, problems: Problems) -> None:
    parents = [base for base in cls.__mro__[1:] if issubclass(base, Entity) and base is not Entity]
    with problems.at():
        if parents:
            raise Wrong(
                f"it inherits from the entity {parents[0].__name__}",
                "put the shared fields into a plain class and name both: class A(Shared, Entity)",
            )


# Fields ---------------------------------------------------------------------------------------------------


def _fields(cls: type, said: Mapping[str, Any], problems: Problems) -> list[Field]:
    found: list[Field] = []
    for attribute, (owner, raw) in written_fields(cls, root=Entity).items():
        hint, known = Hint(object), False
        with problems.at(attribute):
            annotation = resolve(attribute, owner, raw)
            if not is_column(annotation):
                continue
            if attribute in TAKEN:
                raise Wrong("the name is taken by Entity", f'write {attribute}_: Annotated[..., Name("{attribute}")]')
            hint, known = take_apart(annotation), True
        found.append(_field(cls, attribute, hint, said=said, problems=problems) if known else _unread(attribute))
    if not found and said.get("managed", True):
        with problems.at():
            raise Wrong("it has no fields", "declare at least one, as in order_id: Annotated[UUID, Key()]")
    return found


def _field(cls: type, attribute: str, hint: Hint, *, said: Mapping[str, Any], problems: Problems) -> Field:
    name = source_name(attribute, hint)
    standard = STANDARD.get(name) if said.get("audit", True) else None
    default = inspect.getattr_static(cls, attribute, MISSING)
    written = Written(attribute, name, hint, default, standard, said.get("managed", True))
    field = read_field(written, problems)
    if standard and field.column.type not in (standard.type, UNKNOWN):
        problems.add(
            Problem(
                f"the audit column is {standard.type}, not {field.column.type}",
                "keep its type, or rename the field, or audit=False",
                attribute,
            )
        )
    return field


def _unread(attribute: str) -> Field:
    return Field(attribute, Column(name=attribute, type=UNKNOWN))


# The whole ------------------------------------------------------------------------------------------------


def _assemble(cls: type, said: dict[str, Any], fields: list[Field], *, problems: Problems) -> EntitySpec:
    table = said.get("table", default_table(cls.__name__))
    schema, audit = said.get("schema", "public"), said.get("audit", True)
    columns = tuple(field.column for field in fields)
    names = {column.name for column in columns}
    left = tuple(column for column in AUDIT_COLUMNS if audit and column.name not in names)
    partition = said.get("partition")
    return EntitySpec(
        name=said.get("name", default_name(table)),
        table=table,
        schema=schema,
        columns=columns + left,
        key=_key(said, fields, partition, problems=problems),
        references=_references(said, fields, schema, problems=problems),
        unique=tuple((field.column.name,) for field in fields if field.unique)
        + tuple((item,) if isinstance(item, str) else tuple(item) for item in said.get("unique", ())),
        indexes=tuple(said.get("indexes", ())),
        partition=partition,
        audit=audit,
        audit_context=said.get("audit_context", "fallback" if said.get("audit_trail") else "off"),
        audit_trail=said.get("audit_trail"),
        audit_changed_only=said.get("audit_changed_only", False),
        replica_identity=said.get("replica_identity", "full"),
        managed=said.get("managed", True),
        retention=said.get("retention"),
        owner=said.get("owner"),
        doc=said.get("doc", inspect.cleandoc(cls.__dict__.get("__doc__") or "")),
    )


def _key(
    said: Mapping[str, Any], fields: list[Field], partition: Partition | None, *, problems: Problems
) -> tuple[str, ...]:
    marked = tuple(field.column.name for field in fields if field.key)
    with problems.at():
        if marked and "key" in said:
            raise Wrong("the key is said twice, by Key() and by key=", "keep one of them")
        if not marked and "key" not in said and not problems.failed:
            raise Wrong("it has no key", "mark a field Key(), or say key=() for a table without one")
    key = marked or tuple(said.get("key", ()))
    if partition is not None and partition.by == "time" and key and partition.column not in key:
        return (*key, partition.column)
    return key


def _references(
    said: Mapping[str, Any], fields: list[Field], schema: str, *, problems: Problems
) -> tuple[Reference, ...]:
    found: list[Reference] = []
    for field in fields:
        if field.reference:
            with problems.at(field.attribute):
                found.append(_reference(field.reference, field.column.name, schema))
    for reference in said.get("references", ()):
        to = reference.to if "." in reference.to else f"{schema}.{reference.to}"
        found.append(replace(reference, to=to, columns=tuple(reference.columns), to_columns=tuple(reference.to_columns)))
    return tuple(found)


def _reference(ref: Ref, column: str, schema: str) -> Reference:
    match ref.target.split("."):
        case [str() as table, str() as target] if table and target:
            to = f"{schema}.{table}"
        case [str() as where, str() as table, str() as target] if where and table and target:
            to = f"{where}.{table}"
        case _:
            raise Wrong(f"Ref({ref.target!r}) does not name a column", 'write Ref("table.column") or references=[...]')
    return Reference(columns=(column,), to=to, to_columns=(target,), on_delete=ref.on_delete)
