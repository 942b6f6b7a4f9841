"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `bad`: capture cannot go on, or would lose or break something; `warn`: it may.

    `remedy` is what to run, as it stands, wherever a statement can mend it.
    """

    name: str
    state: State
    what: str
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Nothing must be mended."""
        return self.state != "bad"

    def as_dict(self) -> dict[str, object]:
        """The check as `--json` prints it."""
        return {"name": self.name, "state": self.state, "ok": self.ok, "what": self.what, "remedy": self.remedy}


def fine(name: str, what: str) -> Check:
    """It is as it should be."""
    return Check(name, "ok", what)


def warn(name: str, what: str, remedy: str | None = None) -> Check:
    """It works, and may cost something one day."""
    return Check(name, "warn", what, remedy)


def bad(name: str, what: str, remedy: str | None = None) -> Check:
    """It must be mended."""
    return Check(name, "bad", what, remedy)
