"""Annotations taken apart: from what the user wrote to a bare Python type and its markers."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from .markers import Marker
from .problems import Wrong


@dataclass(frozen=True, slots=True)
class Hint:
    """A bare Python type, whether None is allowed beside it, and our markers on it."""

    python: Any
    nullable: bool = False
    markers: tuple[Marker, ...] = ()


def written_fields(cls: type, *, root: type) -> dict[str, tuple[type, Any]]:
    """Every annotated name of `cls` and its mixins with the class that says it and the raw annotation.

    The class's own fields come first, then those of its mixins; a redeclared field keeps the first place.
    """
    found: dict[str, tuple[type, Any]] = {}
    for owner in cls.__mro__:
        if owner is not root and owner is not object:
            for name, raw in inspect.get_annotations(owner).items():
                found.setdefault(name, (owner, raw))
    return found


def resolve(name: str, owner: type, raw: Any) -> Any:
    """The annotation as an object: text is evaluated with the names of its module, never those of the class."""
    module = sys.modules.get(owner.__module__)
    carrier = type(owner.__name__, (), {"__annotations__": {name: raw}, "__module__": owner.__module__})
    try:
        return get_type_hints(carrier, globalns=vars(module) if module else {}, include_extras=True)[name]
    except NameError as error:
        raise Wrong(
            f"the annotation uses {error.name!r}, which the module does not define",
            "import or define it at the top of the module",
        ) from error
    except Exception as error:
        raise Wrong(f"the annotation cannot be read: {error}", "write a type, or Annotated[type, ...]") from error


def is_column(annotation: Any) -> bool:
    """ClassVar is the Python way to say "not a field"."""
    return annotation is not ClassVar and get_origin(annotation) is not ClassVar


def take_apart(annotation: Any) -> Hint:
    """`Annotated[Decimal | None, Numeric(10, 2)]` is Decimal, nullable, with one marker; in any nesting."""
    if hasattr(annotation, "__supertype__"):  # NewType
        return take_apart(annotation.__supertype__)
    if hasattr(annotation, "__value__"):  # type X = ...
        return take_apart(annotation.__value__)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = take_apart(arguments[0])
        return Hint(inner.python, inner.nullable, inner.markers + _markers(arguments[1:]))
    if origin is Union or origin is UnionType:
        return _optional(annotation, arguments)
    if origin is Literal and None in arguments:
        return Hint(Literal[tuple(value for value in arguments if value is not None)], nullable=True)
    return Hint(annotation)


def _optional(annotation: Any, members: tuple[Any, ...]) -> Hint:
    others = [member for member in members if member is not NoneType]
    if len(others) != 1:
        raise Wrong(f"a column has one type, not {annotation}", "keep one of them, or store a document: Json()")
    inner = take_apart(others[0])
    return Hint(inner.python, inner.nullable or len(others) < len(members), inner.markers)


def _markers(metadata: tuple[Any, ...]) -> tuple[Marker, ...]:
    for item in metadata:
        if isinstance(item, type) and issubclass(item, Marker):
            raise Wrong(f"{item.__name__} stands without parentheses", f"write {item.__name__}()")
    return tuple(item for item in metadata if isinstance(item, Marker))
