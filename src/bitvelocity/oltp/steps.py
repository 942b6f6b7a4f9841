"""The parts of a plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to do. `alone`: after the one transaction of all other steps, in autocommit, so that nobody waits."""

    sql: str
    reason: str
    entity: str | None = None
    destructive: bool = False
    alone: bool = False
    undo: str = ""
    """Run when it failed: PostgreSQL keeps the broken index of CREATE INDEX CONCURRENTLY, and may hold new rows to it."""

    def text(self) -> str:
        """As the dry run prints it."""
        marks = " (destructive)" if self.destructive else ""
        sql = self.sql if self.sql.endswith(";") else f"{self.sql};"
        return f"-- {self.reason}{marks}\n{sql}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something not done. `blocks`: `apply` does nothing at all until this is settled."""

    reason: str
    remedy: str
    entity: str | None = None
    blocks: bool = False
