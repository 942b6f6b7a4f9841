"""What one entity must keep to, checked on its spec: whatever wrote it, the rules are the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import TypeVar, get_args

from .names import LONGEST_NAME
from .problems import Problem, Wrong
from .spec import AuditContext, AuditTrail, Column, EntitySpec, Identity, Index, OnDelete, Step
from .terms import parse_term, unknown_column
from .trail import SUFFIX, TAKEN
from .values import comparable, has_order, literal_text

PII_CLASSES = (
    "name", "email", "phone", "address", "birthdate", "national_id", "payment", "ip", "location", "free_text", "other",
)  # fmt: skip
"""The classes of personal data that `Pii(...)` knows."""

MOST_DIGITS = 38
"""A decimal128 of Arrow and Delta holds no more."""

T = TypeVar("T", bound=Hashable)

INTEGERS = frozenset({"int16", "int32", "int64"})
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_RETENTION = re.compile(r"(?=.*[1-9])\d+ (?:minute|hour|day|week|month|year)s?(?: \d+ (?:minute|hour|day|week|month|year)s?)*")
_LAKE_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


def spec_problems(spec: EntitySpec) -> Iterator[Problem]:
    """Everything that is wrong with one spec; `field` of a problem is a source column name or None."""
    for check in _CHECKS + (_MANAGED_CHECKS if spec.managed else ()):
        yield from check(spec)


# Of every entity ------------------------------------------------------------------------------------------


def _names(spec: EntitySpec) -> Iterator[Problem]:
    if not _LAKE_NAME.fullmatch(spec.name) or len(spec.name) > LONGEST_NAME:
        yield Problem(
            f"the name {spec.name!r} does not do for the lake", 'give one of a-z, 0-9 and _ as in name="order_items"'
        )
    named = [("table", spec.table), ("schema", spec.schema), *(("index", index.name) for index in spec.indexes)]
    for what, name in named:
        yield from _name_problems(f"the {what} name", name, None)
    for column in spec.columns:
        yield from _name_problems("the column name", column.name, column.name)
    for name in _repeated(column.name for column in spec.columns):
        yield Problem("two fields have this column name", "rename one of them, or remove it", name)
    for name in _repeated(index.name for index in spec.indexes):
        yield Problem(f"two indexes are named {name!r}", "rename one of them")


def _name_problems(what: str, name: str, field: str | None) -> Iterator[Problem]:
    if not name or "\0" in name:
        yield Problem(f"{what} {name!r} is no name", "give it at least one character, and no NUL", field)
    elif len(name.encode(errors="replace")) > LONGEST_NAME:
        yield Problem(f"{what} {name!r} is longer than {LONGEST_NAME} bytes", "shorten it", field)


def _key(spec: EntitySpec) -> Iterator[Problem]:
    joined = spec.partition.column if spec.partition else None  # has its own check
    yield from _unknown("the key", (name for name in spec.key if name != joined), spec)
    for name in spec.key:
        if name in spec.by_name and spec.by_name[name].nullable:
            yield Problem("it is part of the key and may be NULL", "remove `| None`", name)


def _unique(spec: EntitySpec) -> Iterator[Problem]:
    for columns in spec.unique:
        yield from _unknown(f"unique {_listed(columns)}", columns, spec)


def _references(spec: EntitySpec) -> Iterator[Problem]:
    for reference in spec.references:
        what = f"the reference to {reference.to}"
        yield from _unknown(what, reference.columns, spec)
        if len(reference.columns) != len(reference.to_columns):
            yield Problem(
                f"{what} pairs {len(reference.columns)} with {len(reference.to_columns)} columns",
                "give as many columns as to_columns",
            )
        if reference.on_delete not in get_args(OnDelete):
            yield Problem(f"{what} has on_delete={reference.on_delete!r}", f"use one of {_listed(get_args(OnDelete))}")


def _indexes(spec: EntitySpec) -> Iterator[Problem]:
    for index in spec.indexes:
        what = f"the index {index.name!r}"
        if not index.columns:
            yield Problem(f"{what} has no columns", "name at least one")
        yield from _unknown(what, index.include, spec)
        for term in index.columns:
            try:
                parse_term(term, spec.by_name)
            except Wrong as wrong:
                yield Problem(f"{what}: {wrong.what}", wrong.remedy)


def _partition(spec: EntitySpec) -> Iterator[Problem]:
    partition = spec.partition
    if partition is None:
        return
    yield from _unknown("the partition", (partition.column,), spec)
    if partition.step not in get_args(Step) or partition.by not in ("time", "uuid7"):
        yield Problem(
            f"the partition is by {partition.by!r} in steps of {partition.step!r}",
            f'use by="time" or "uuid7" and a step of {_listed(get_args(Step))}',
        )
    if partition.ahead < 0 or partition.behind < 0:
        yield Problem("partitions ahead and behind cannot be negative", "count from 0")
    if spec.key and partition.column not in spec.key:
        yield Problem(f"the partition column {partition.column!r} is not in the key", "add it: PostgreSQL wants it there")


def _rules(spec: EntitySpec) -> Iterator[Problem]:
    for column in spec.columns:
        if column.pii is not None and column.pii not in PII_CLASSES:
            yield Problem(f"{column.pii!r} is no class of personal data", f"use one of {_listed(PII_CLASSES)}", column.name)
        for choice in _repeated(column.choices + column.type.choices):
            yield Problem(f"the choice {choice!r} is there twice", "keep one of them", column.name)
        if column.minimum is not None and column.maximum is not None and has_order(column.type):
            yield from _empty_range(column)


def _empty_range(column: Column) -> Iterator[Problem]:
    if comparable(column.minimum or "", column.type) > comparable(column.maximum or "", column.type):
        yield Problem(f"the range from {column.minimum} to {column.maximum} is empty", "swap min and max", column.name)


def _settings(spec: EntitySpec) -> Iterator[Problem]:
    if spec.retention is not None and not _RETENTION.fullmatch(spec.retention):
        yield Problem(f"the retention {spec.retention!r} is no interval", 'write it as in "90 days" or "7 years"')
    if spec.audit_context not in get_args(AuditContext):
        yield Problem(f"audit_context {spec.audit_context!r} is unknown", f"use one of {_listed(get_args(AuditContext))}")
    elif spec.audit_context != "off" and not spec.managed:
        yield Problem("audit_context is kept by a trigger, and this table is never altered", 'leave it out, or managed=True')
    if spec.audit_trail is not None:
        yield from _trail(spec)
    elif spec.audit_changed_only:
        yield Problem("audit_changed_only without audit_trail means nothing", 'add audit_trail="cdc"')
    if spec.replica_identity not in get_args(Identity):
        yield Problem(f"replica_identity {spec.replica_identity!r} is unknown", f"use one of {_listed(get_args(Identity))}")


def _trail(spec: EntitySpec) -> Iterator[Problem]:
    if spec.audit_trail not in get_args(AuditTrail):
        yield Problem(f"audit_trail {spec.audit_trail!r} is unknown", f"use one of {_listed(get_args(AuditTrail))}, or None")
    if not spec.managed:
        yield Problem("an audit trail is a table of ours, and this table is never altered", "leave audit_trail out")
    if not spec.key:
        yield Problem("without a key no row of the trail could name its row", "mark a field Key(), or leave audit_trail out")
    if len(f"{spec.table}{SUFFIX}".encode()) > LONGEST_NAME:
        yield Problem("the name of its trail would be too long", "give it a shorter table=, or leave audit_trail out")
    for name in TAKEN.intersection(spec.key):
        yield Problem("the trail has a column of this name", "rename the field, or leave audit_trail out", name)


# Of an entity whose table we make -------------------------------------------------------------------------


def _has_key(spec: EntitySpec) -> Iterator[Problem]:
    if not spec.key and spec.replica_identity == "default":
        yield Problem("without a key PostgreSQL cannot send updates", 'mark a field Key(), or replica_identity="full"')


def _said_once(spec: EntitySpec) -> Iterator[Problem]:
    for columns in _repeated(spec.unique):
        yield Problem(f"unique {_listed(columns)} is said twice", "keep one of them")
    for reference in _repeated(spec.references):
        yield Problem(f"the reference to {reference.to} is said twice", "keep one of them")


def _reserved(spec: EntitySpec) -> Iterator[Problem]:
    for column in spec.columns:
        if column.name.startswith("_"):
            yield Problem("a leading underscore is the lake's own", "rename it", column.name)
        if column.name in _SYSTEM_COLUMNS:
            yield Problem("PostgreSQL keeps this name for itself", "rename it", column.name)


def _types(spec: EntitySpec) -> Iterator[Problem]:
    for column in spec.columns:
        of = column.type.item if column.type.kind == "array" and column.type.item else column.type
        if of.precision is not None and not 1 <= of.precision <= MOST_DIGITS:
            yield Problem(
                f"{of.precision} digits are outside 1 to {MOST_DIGITS}", f"the lake holds {MOST_DIGITS} digits", column.name
            )
        elif of.precision is not None and not 0 <= (of.scale or 0) <= of.precision:
            yield Problem(
                f"{of.scale} digits after the point are outside 0 to {of.precision}", "lower the scale", column.name
            )
        if of.length is not None and not 1 <= of.length <= 10_485_760:
            yield Problem(f"a length of {of.length} is outside 1 to 10485760", "leave Length out for any length", column.name)
        if of.kind == "array":
            yield Problem("arrays do not record their dimensions", "write one list[...]: it holds nested values too", column.name)
        if of.kind == "enum" and not of.choices:
            yield Problem("an enum type needs a value", 'list them: Literal["A", "B"]', column.name)


def _given(spec: EntitySpec) -> Iterator[Problem]:
    for column in spec.columns:
        given = [column.default is not None, column.identity, column.generated is not None]
        if sum(given) > 1:
            yield Problem("default, identity and generated exclude each other", "keep one of them", column.name)
        if column.identity and column.type.kind not in INTEGERS:
            yield Problem(f"Identity() numbers integers, not {column.type}", "use int", column.name)
        if column.identity and column.nullable:
            yield Problem("a numbered column is never NULL", "remove `| None`", column.name)
        yield from _default_problems(column)


def _default_problems(column: Column) -> Iterator[Problem]:
    text = literal_text(column.default) if column.default else None
    if text is None:
        return
    allowed = column.choices or column.type.choices
    if allowed and text not in allowed:
        yield Problem(f"the default {text!r} is none of the choices", f"use one of {_listed(allowed)}", column.name)
    if column.type.length is not None and len(text) > column.type.length:
        yield Problem(f"the default {text!r} is longer than {column.type.length}", "shorten it", column.name)
    if column.pattern is not None and not _matches(column.pattern, text):
        yield Problem(f"the default {text!r} does not match {column.pattern!r}", "correct one of them", column.name)
    if column.type.kind == "uuid" or has_order(column.type):
        yield from _default_value_problems(column, text)


def _default_value_problems(column: Column, text: str) -> Iterator[Problem]:
    if not has_order(column.type) or column.type.kind in ("date", "time", "timestamp", "timestamptz"):
        return  # PostgreSQL reads more than ISO there: 'now', 'epoch', 'infinity'
    try:
        value = comparable(text, column.type)
    except Wrong as wrong:
        yield Problem(f"the default {wrong.what}", wrong.remedy, column.name)
        return
    low = column.minimum is not None and value < comparable(column.minimum, column.type)
    high = column.maximum is not None and value > comparable(column.maximum, column.type)
    if low or high:
        yield Problem(f"the default {text} is outside its own range", "correct one of them", column.name)


def _index_methods(spec: EntitySpec) -> Iterator[Problem]:
    for index in spec.indexes:
        what, remedy = f"the index {index.name!r} of method {index.method}", "only btree can"
        if index.unique and index.method != "btree":
            yield Problem(f"{what} cannot be unique", remedy)
        if index.include and index.method not in ("btree", "gist"):
            yield Problem(f"{what} cannot include columns", remedy)
        if index.method == "hash" and len(index.columns) > 1:
            yield Problem(f"{what} cannot have more than one column", remedy)
        if index.method != "btree" and any(_ordered(term, spec) for term in index.columns):
            yield Problem(f"{what} has no order", "remove asc and desc")


def _partition_fits(spec: EntitySpec) -> Iterator[Problem]:
    partition = spec.partition
    if partition is None or partition.column not in spec.by_name:
        return
    column = spec.by_name[partition.column]
    check = _time_partition if partition.by == "time" else _uuid7_partition
    yield from check(column, spec)
    if column.generated is not None:
        yield Problem("a generated column cannot divide the partitions", "partition by the column it comes from", column.name)
    for columns in (*spec.unique, *(tuple(_columns_of(index, spec)) for index in spec.indexes if index.unique)):
        if partition.column not in columns:
            yield Problem(
                f"unique {_listed(columns)} does not hold the partition column {partition.column!r}",
                "add it: PostgreSQL keeps uniqueness within a partition only",
            )


def _time_partition(column: Column, _: EntitySpec) -> Iterator[Problem]:
    if column.type.kind != "timestamptz":
        yield Problem(
            f"partitions of time need a timestamptz, this is {column.type}",
            'use datetime, or Partition(..., by="uuid7") on a UUIDv7 key',
            column.name,
        )


def _uuid7_partition(column: Column, spec: EntitySpec) -> Iterator[Problem]:
    if column.type.kind != "uuid" or spec.key != (column.name,):
        yield Problem(
            'partitions by "uuid7" need a uuid that is the whole key', 'mark this UUID as the only Key(), or by="time"', column.name
        )
    if column.default is not None and "gen_random_uuid" in column.default:
        yield Problem("gen_random_uuid() gives version 4, which has no time", 'write Default("uuidv7()")', column.name)


# Words ----------------------------------------------------------------------------------------------------


def _unknown(what: str, names: Iterable[str], spec: EntitySpec) -> Iterator[Problem]:
    listed = tuple(names)
    for name in listed:
        if name not in spec.by_name:
            wrong = unknown_column(name, spec.by_name)
            yield Problem(f"{what}: {wrong.what}", wrong.remedy)
    for name in _repeated(listed):
        yield Problem(f"{what}: {name!r} is there twice", "keep one of them")


def _columns_of(index: Index, spec: EntitySpec) -> Iterator[str]:
    for text in index.columns:
        try:
            yield parse_term(text, spec.by_name).column or text
        except Wrong:
            yield text


def _ordered(text: str, spec: EntitySpec) -> bool:
    return text not in spec.by_name and re.search(r"\s(?:asc|desc)\b|\snulls\s", text, re.I) is not None


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return True  # the pattern has its own problem


def _repeated(items: Iterable[T]) -> list[T]:
    seen: list[T] = []
    twice: list[T] = []
    for item in items:
        (twice if item in seen else seen).append(item)
    return list(dict.fromkeys(twice))


def _listed(words: Collection[str]) -> str:
    return ", ".join(words)


Check = Callable[[EntitySpec], Iterator[Problem]]
_CHECKS: tuple[Check, ...] = (_names, _key, _unique, _references, _indexes, _partition, _rules, _settings)
_MANAGED_CHECKS: tuple[Check, ...] = (
    _has_key, _said_once, _reserved, _types, _given, _index_methods, _partition_fits,
)  # fmt: skip
