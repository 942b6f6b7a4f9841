"""Why one schema cannot read what another wrote."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Objection:
    """One reason: its kind as Confluent's clients know it, where in the schema, and what is wrong there."""

    kind: str
    path: str
    what: str

    def below(self, place: str) -> Objection:
        """The same, seen from further up."""
        return replace(self, path=f"{place}{self.path}")

    def __str__(self) -> str:
        return f"{self.kind} at {self.path or '/'}: {self.what}"
