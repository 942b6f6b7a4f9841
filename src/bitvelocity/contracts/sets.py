"""A set of specs: what they must keep to among themselves, and the order in which they can be made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from .checks import INTEGERS
from .problems import Problem, Problems
from .spec import Column, EntitySpec, Reference
from .terms import unknown_column
from .trail import trails_of
from .types import Type


def check_set(specs: Sequence[EntitySpec]) -> None:
    """Raise one `DeclarationError` for everything that does not fit between these entities."""
    problems = Problems("")
    tables = {spec.qualified: spec for spec in specs}
    for problem in _same_names(specs):
        problems.add(problem)
    for spec in specs:
        for reference in spec.references:
            for problem in _reference_problems(spec, reference, tables):
                problems.add(problem)
    for problem in _enum_problems(specs):
        problems.add(problem)
    problems.raise_if_any()


def in_order(specs: Sequence[EntitySpec]) -> tuple[EntitySpec, ...]:
    """Each entity after all that it references, else as declared.

    References may form a cycle: then the one that closes it, seen from the entity declared first, points ahead, and
    its constraint is added after both tables exist.
    """
    tables = {spec.qualified: spec for spec in specs}
    seen: set[str] = set()
    placed: list[EntitySpec] = []

    def place(spec: EntitySpec) -> None:
        if spec.qualified in seen:
            return
        seen.add(spec.qualified)
        for reference in spec.references:
            if reference.to in tables:
                place(tables[reference.to])
        placed.append(spec)

    for spec in specs:
        place(spec)
    return tuple(placed)


def _same_names(specs: Sequence[EntitySpec]) -> Iterator[Problem]:
    for what, names, remedy in (
        ("the table", [spec.qualified for spec in (*specs, *trails_of(specs))], "remove one of them, or give it another table="),
        ("the lake name", [spec.name for spec in specs], 'give one of them another: name="..."'),
    ):
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            yield Problem(f"{what} {name!r} is declared {names.count(name)} times", remedy, name)
    owners: dict[tuple[str, str], EntitySpec] = {}
    for spec in specs:
        for index in spec.indexes:
            owner = owners.setdefault((spec.schema, index.name), spec)
            if owner is not spec:
                what = f"the index {index.name!r} is also one of {owner.name}"
                yield Problem(what, "rename one: index names are unique in a schema", spec.name)


def _reference_problems(
    spec: EntitySpec, reference: Reference, tables: Mapping[str, EntitySpec]
) -> Iterator[Problem]:
    where = ".".join((spec.name, *reference.columns[:1]))
    target = tables.get(reference.to)
    if target is None:
        if spec.managed:
            yield _no_target(reference, tables, where)
        return
    missing = [name for name in reference.to_columns if name not in target.by_name]
    for name in missing:
        wrong = unknown_column(name, target.by_name)
        yield Problem(f"it references {reference.to}: {wrong.what}", wrong.remedy, where)
    if missing or not spec.managed:
        return
    if not _identifies(target, reference.to_columns):
        yield _not_unique(reference, target, where)
    for name, to_name in zip(reference.columns, reference.to_columns, strict=True):
        column, other = spec.by_name[name], target.by_name[to_name]
        if not _comparable(column.type, other.type):
            yield _type_problem(column, other, f"{spec.name}.{name}", reference=reference)


def _no_target(reference: Reference, tables: Iterable[str], where: str) -> Problem:
    plain = {name.rpartition(".")[2]: name for name in tables}  # the schema would make all of them look alike
    near = get_close_matches(reference.to.rpartition(".")[2], list(plain), n=1)
    hint = f"did you mean {plain[near[0]]!r}?" if near else "declare it; with managed=False if it is not yours to make"
    return Problem(f"it references {reference.to}, which no entity declares", hint, where)


def _not_unique(reference: Reference, target: EntitySpec, where: str) -> Problem:
    listed = ", ".join(reference.to_columns)
    remedy = f"reference ({', '.join(target.key)}) with references=[Reference(...)], or make ({listed}) unique there"
    if target.partition is not None and target.partition.by == "time":
        remedy += '; a table partitioned by "uuid7" keeps its key of one column'
    return Problem(f"it references {reference.to} ({listed}), which does not identify one row", remedy, where)


def _type_problem(column: Column, other: Column, where: str, *, reference: Reference) -> Problem:
    return Problem(
        f"it is {column.type}, but {reference.to}.{other.name} is {other.type}", "declare both with one type", where
    )


def _identifies(target: EntitySpec, columns: tuple[str, ...]) -> bool:
    wanted = set(columns)
    indexes = (index.columns for index in target.indexes if index.unique and index.where is None)
    return any(set(unique) == wanted for unique in (target.key, *target.unique, *indexes) if unique)


def _comparable(one: Type, other: Type) -> bool:
    if one.kind in INTEGERS and other.kind in INTEGERS:
        return True
    if one.kind in ("enum", "other"):
        return (one.kind, one.native) == (other.kind, other.native)
    return one.kind == other.kind or {one.kind, other.kind} == {"text", "char"}


def _enum_problems(specs: Iterable[EntitySpec]) -> Iterator[Problem]:
    first: dict[str, Type] = {}
    for spec in specs:
        for column in spec.columns:
            if column.type.kind == "enum" and first.setdefault(column.type.native or "", column.type) != column.type:
                yield Problem(
                    f"the enum type {column.type.native} has other values elsewhere",
                    "list the same values in the same order wherever it is used",
                    f"{spec.name}.{column.name}",
                )
