"""The reading of one table beside the stream, as data: what was asked for, how far it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from bitvelocity.changes import Unsent

from .ranges import Part, as_json, from_json, share

State = Literal["asked", "waiting", "reading", "paused", "done", "stopped", "failed"]
"""
- `asked`: nothing was read yet. `waiting`: for transactions of the source that were running when the reading began.
- `reading`: chunks are read. `paused`: by a person, who may resume it.
- `done`: all was read, and is in the lake. `stopped`: by a person; what was read stays. `failed`: see `error`.
"""
Kind = Literal["again", "altered", "joins", "first"]
"""
- `again`: a person asked for it. `altered`: an ALTER wrote values that the stream does not send. `joins`: the table is new; readers do not see it before the run is done.
- `first`: what a first snapshot that was cut off had not read; readers see nothing before all such runs are done.
"""
OPEN: tuple[State, ...] = ("asked", "waiting", "reading", "paused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One reading of a table. `rows` came into the lake, `outdated` were read but had been changed meanwhile."""

    id: str
    entity: str
    relation: str
    kind: Kind = "again"
    where: str | None = None
    columns: tuple[str, ...] = ()
    """Read only rows in which one of these is not NULL; empty: all."""
    sure: bool = True
    """Of such columns: without it, nothing is read where the source's catalog says that they were not filled."""
    look: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """The table's columns when the reading was planned, with the OIDs and modifiers of their types."""
    state: State = "asked"
    parts: tuple[Part, ...] | None = None
    rows: int = 0
    outdated: int = 0
    again: int = 0
    """Rounds of reading single keys, whose values nobody knew."""
    asked_at: float = 0.0
    ended_at: float | None = None
    error: str | None = None
    waits_for: tuple[int, ...] = ()
    """Transactions of the source that must end first."""

    @property
    def open(self) -> bool:
        """It is not at its end."""
        return self.state in OPEN

    def covers(self, unsent: Unsent) -> bool:
        """Whether it reads, or will read, all of that as it is now. A rewritten table is begun again in any case."""
        if not self.open or self.where is not None or self.columns:
            return False
        return self.parts is None or all(self.look.get(name) == kind for name, kind in unsent.columns.items())

    @property
    def share(self) -> float:
        """How much of the table is read, from 0 to 1."""
        return 1.0 if self.state == "done" else share(self.parts) if self.parts else 0.0

    def ended(self, state: State, at: float, error: str | None = None) -> Run:
        """At its end."""
        return replace(self, state=state, ended_at=at, error=error, waits_for=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON: in files and on the screen."""
        return {**asdict(self), "parts": as_json(self.parts) if self.parts is not None else None, "share": round(self.share, 4)}


def run_from(data: Mapping[str, Any]) -> Run:
    """The inverse of `Run.as_dict`."""
    known = {name: value for name, value in data.items() if name in Run.__slots__}
    parts = known.get("parts")
    return Run(**{
        **known,
        "parts": from_json(parts) if parts is not None else None,
        "waits_for": tuple(known.get("waits_for") or ()),
        "columns": tuple(known.get("columns") or ()),
        "look": {name: (int(kind), int(modifier)) for name, (kind, modifier) in (known.get("look") or {}).items()},
    })  # fmt: skip
