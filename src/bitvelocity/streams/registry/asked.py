"""What a request asks, read from its path, its query and its body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .reading import read_version
from .refusals import invalid_schema, schema_not_found
from .rows import Run
from .subjects import Subject, context_name, read_subject

T = TypeVar("T")


def _no_transaction(statement: str, values: Any) -> list[Any]:
    raise AssertionError(f"no transaction is open for {statement} with {len(values)} values")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and the transaction in which it is answered."""

    names: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: Any
    within: str
    run: Run = _no_transaction

    def on(self, run: Run) -> Asked:
        return replace(self, run=run)

    @property
    def context(self) -> str:
        return context_name(self.within)

    @property
    def subject(self) -> Subject:
        """The subject in the path; without one, all of the context."""
        return read_subject(self.names.get("subject", ""), self.context)

    @property
    def asked_subject(self) -> Subject | None:
        """The subject in the query, where it says in which context an id is meant."""
        text = self.text("subject")
        if text:
            return read_subject(text, self.context)
        return None if self.context == "." else Subject(self.context, "")

    @property
    def version(self) -> int | None:
        return read_version(self.names.get("version", "latest"))

    @property
    def number(self) -> int:
        text = self.names["id"]
        if not (text.isascii() and text.isdecimal()) or int(text) >= 2**31:
            raise schema_not_found(text)
        return int(text)

    def text(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[-1]

    def says(self, *names: str) -> bool:
        return any(self.text(name).lower() == "true" for name in names)

    def object(self) -> dict[str, Any]:
        if not isinstance(self.body, dict):
            raise invalid_schema("the body is no object")
        return self.body

    def page(self, found: list[T]) -> list[T]:
        """The part of a list that `offset` and `limit` ask for; a negative limit is none."""
        offset, limit = _whole(self.text("offset", "0"), 0), _whole(self.text("limit", "-1"), -1)
        return found[max(offset, 0) :] if limit < 0 else found[max(offset, 0) : max(offset, 0) + limit]


def _whole(text: str, default: int) -> int:
    return int(text) if text.lstrip("-").isdecimal() and text.isascii() else default
