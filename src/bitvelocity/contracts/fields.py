"""One annotated field of an entity becomes one column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from .hints import Hint
from .kinds import choices_of, type_of
from .markers import (
    Bound,
    Default,
    Doc,
    Generated,
    Identity,
    Key,
    Marker,
    Measured,
    Name,
    OneOf,
    Pattern,
    Pii,
    Range,
    Ref,
    Unique,
)
from .patterns import check_pattern
from .problems import Problems, Wrong
from .spec import Column
from .types import Type
from .values import comparable, has_order, printed, sql_literal

M = TypeVar("M", bound=Marker)

MISSING: Any = object()
"""No Python default was written."""

MONEY_WORDS = frozenset({"amount", "balance", "cost", "fee", "money", "price", "salary", "total"})
"""A float whose name holds one of these words is refused: money is never a float."""


@dataclass(frozen=True, slots=True)
class Written:
    """A field as the class has it. `standard` is the audit column that it redeclares, if any."""

    attribute: str
    name: str
    hint: Hint
    default: Any = MISSING
    standard: Column | None = None
    managed: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """A column and what its field says about the table."""

    attribute: str
    column: Column
    key: bool = False
    unique: bool = False
    reference: Ref | None = None


def source_name(attribute: str, hint: Hint) -> str:
    """The column's name: what `Name(...)` says, else the attribute's."""
    name = _the(Name, hint.markers)
    return name.source if name else attribute


def read_field(written: Written, problems: Problems) -> Field:
    """Compile a field; what is wrong goes to `problems`, and the rest of the field is read on."""
    markers, parts = written.hint.markers, _Parts(written, problems)
    of = parts.read_type()
    column = Column(
        name=written.name,
        type=of,
        nullable=written.hint.nullable,
        default=parts.default(of),
        identity=parts.has(Identity),
        generated=parts.generated(),
        minimum=parts.bound(of, "min"),
        maximum=parts.bound(of, "max"),
        pattern=parts.pattern(of),
        choices=parts.choices(of),
        pii=parts.pii(),
        audit=written.standard is not None,
        doc=parts.doc(),
    )
    parts.check_markers()
    return Field(written.attribute, column, parts.has(Key), parts.has(Unique), _the(Ref, markers))


UNKNOWN = Type("other", native="unknown")
"""Stands in for the type of a field that could not be read, so that the rest can be checked."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of one column, each read on its own, so that one problem does not hide the next."""

    written: Written
    problems: Problems

    def read_type(self) -> Type:
        with self.problems.at(self.written.attribute):
            of = type_of(self.written.hint)
            self._refuse_float_money(of)
            return of
        return UNKNOWN

    def default(self, of: Type) -> str | None:
        written, marker = self.written, self._marker(Default)
        with self.problems.at(written.attribute):
            if marker and written.default is not MISSING:
                raise Wrong("there are two defaults", "keep Default(...) or the Python value")
            if marker:
                return marker.sql
            if written.default is None and not written.hint.nullable:
                raise Wrong("None is the default of a column that may not be NULL", "write `| None` or another default")
            if written.default is not MISSING:
                usable = written.default is not None and of != UNKNOWN
                return sql_literal(written.default, of) if usable else None
        return written.standard.default if written.standard else None

    def generated(self) -> str | None:
        marker = self._marker(Generated)
        return marker.sql if marker else None

    def bound(self, of: Type, side: str) -> str | None:
        marker = self._marker(Range)
        value: Bound | None = getattr(marker, side) if marker else None
        if value is None or of == UNKNOWN:
            return None
        with self.problems.at(self.written.attribute):
            if not has_order(of):
                raise Wrong(f"Range does not fit {of}", "Range is for numbers, dates and times")
            text = value if isinstance(value, str) else printed(value, of)
            comparable(text, of)
            return text
        return None

    def pattern(self, of: Type) -> str | None:
        marker = self._marker(Pattern)
        if marker is None or of == UNKNOWN:
            return None
        with self.problems.at(self.written.attribute):
            if of.kind not in ("text", "char"):
                raise Wrong(f"Pattern does not fit {of}", "Pattern is for str")
            check_pattern(marker.regex)
        return marker.regex

    def choices(self, of: Type) -> tuple[str, ...]:
        marker = self._marker(OneOf)
        if of.kind == "enum" or of == UNKNOWN:
            return ()
        with self.problems.at(self.written.attribute):
            choices = choices_of(self.written.hint.python)
            if marker and (choices or of.kind not in ("text", "char")):
                raise Wrong(f"OneOf does not fit {of}", "OneOf is for str; Literal and Enum list their values already")
            return marker.values if marker else choices
        return ()

    def pii(self) -> str | None:
        marker = self._marker(Pii)
        return marker.kind if marker else None

    def doc(self) -> str:
        marker = self._marker(Doc)
        if marker:
            return marker.text
        return self.written.standard.doc if self.written.standard else ""

    def has(self, marker: type[Marker]) -> bool:
        return self._marker(marker) is not None

    def check_markers(self) -> None:
        """Each marker at most once."""
        kinds = [type(marker) for marker in self.written.hint.markers]
        with self.problems.at(self.written.attribute):
            for kind in dict.fromkeys(kinds):
                if kinds.count(kind) > 1:
                    raise Wrong(f"{kind.__name__} is said twice", "keep one of them")

    def _marker(self, kind: type[M]) -> M | None:
        return _the(kind, self.written.hint.markers)

    def _refuse_float_money(self, of: Type) -> None:
        money = MONEY_WORDS.intersection(self.written.name.lower().split("_"))
        if money and of.kind in ("float32", "float64") and self.written.managed and not self.has(Measured):
            raise Wrong(
                "it looks like money, and money is never a float",
                "write Annotated[Decimal, Numeric(12, 2)], or add Measured() if it is a measurement",
            )


def _the(kind: type[M], markers: Iterable[Marker]) -> M | None:
    found = [marker for marker in markers if isinstance(marker, kind)]
    return found[-1] if found else None
