"""How far the audit trails have followed the changes: kept in the source database, and moved with the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg import errors

from ..changes import format_lsn, parse_lsn
from ..contracts.spec import EntitySpec
from ..errors import DatabaseError
from .trail import POSITIONS

END = 2**63 - 1


class TrailPositions:
    """The positions of the trails that change capture keeps, as the database had them when we looked last."""

    def __init__(self, specs: Mapping[str, EntitySpec]) -> None:
        self._specs = specs
        self.kept = list(specs)
        """Tables whose trails are ours: not those of a trigger that were seen to be done with."""
        self._at: dict[str, int] = {}
        self._until: dict[str, int] = {}

    def lowest(self) -> int:
        """Commit LSN up to which every trail is complete; -1 when one has nothing yet."""
        return min(self._at.values(), default=-1)

    def span(self, name: str) -> tuple[int, int]:
        """The changes that a trail lacks: those above the first LSN, up to the second."""
        return self._at[name], self._until.get(name, END)

    def end_by(self, lsn: int) -> bool:
        """A trail that a trigger took over is complete then."""
        return any(lsn >= last for last in self._until.values())

    def read(self, connection: psycopg.Connection[Any], *, lock: bool = False) -> None:
        """Look how far they are. With `lock` nobody moves them until the transaction ends, and nobody has since we looked."""
        if not lock:
            connection.rollback()
            self.kept = list(self._specs)
        found, until = self._ask(connection, self.kept, lock=lock)
        if not lock:
            self.kept = [name for name in self.kept if name in found or self._specs[name].audit_trail != "sync"]
        if missing := set(self.kept) - found.keys():
            raise DatabaseError(
                f"There is no audit trail of {', '.join(sorted(missing))} in the database.",
                safe="The lake has every change.", remedy="bitvelocity apply", code="TrailMissing",
            )  # fmt: skip
        if lock and (found, until) != (self._at, self._until):
            raise DatabaseError(
                "Somebody else writes the audit trail.", safe="Nothing was written twice.",
                remedy="Let one pipeline follow these tables; this one tries again.", code="TrailMoved",
            )  # fmt: skip
        self._at, self._until = found, until

    def see_no_copy(self, connection: psycopg.Connection[Any]) -> None:
        """They are positions of this server, not of one that it was copied from."""
        (end,) = connection.execute("select pg_current_wal_insert_lsn()::text").fetchone() or ("0/0",)
        connection.rollback()
        if max(self._at.values(), default=-1) > parse_lsn(end):
            raise DatabaseError(
                "The audit trail claims to have followed changes that this server has not made: it is a copy.",
                safe="Nothing was written.",
                remedy=f"If it is to go on from here: update bv.{POSITIONS} set lsn = pg_current_wal_insert_lsn();",
                code="TrailAhead",
            )

    def see_none_returned(self, connection: psycopg.Connection[Any], passed: Iterable[str]) -> None:
        """A trail that was a trigger's may have been given back to us, with those very changes."""
        if found := self._ask(connection, passed, lock=False)[0]:
            raise DatabaseError(
                f"The audit trail of {', '.join(sorted(found))} was given back by its trigger.",
                safe="The lake has every change.", remedy="None is needed: it is filled from the lake.", code="TrailReturned",
            )  # fmt: skip

    def move(self, connection: psycopg.Connection[Any], lsn: int) -> None:
        """All of them at least to `lsn`, and commit. Those that are ours no more are gone from here on."""
        query = f"update bv.{POSITIONS} set lsn = greatest(lsn, %s::pg_lsn) where relation = any(%s)"
        connection.execute(query, [format_lsn(lsn), self.kept])  # type: ignore[call-overload,unused-ignore]
        done = [name for name, last in self._until.items() if lsn >= last]
        if done:
            connection.execute(f"delete from bv.{POSITIONS} where relation = any(%s)", [done])  # type: ignore[call-overload,unused-ignore]
        connection.commit()
        self.kept = [name for name in self.kept if name not in done]
        self._until = {name: last for name, last in self._until.items() if name not in done}
        self._at = {name: max(position, lsn) for name, position in self._at.items() if name not in done}

    def _ask(
        self, connection: psycopg.Connection[Any], relations: Iterable[str], *, lock: bool
    ) -> tuple[dict[str, int], dict[str, int]]:
        """How far each trail is, and up to where it is ours. Of earlier versions the table has no `until`."""
        query = (
            f"select relation, lsn::text, to_jsonb(p) ->> 'until' from bv.{POSITIONS} as p where relation = any(%s) order by 1"
            + " for update" * lock
        )
        try:
            rows = connection.execute(query, [list(relations)]).fetchall()  # type: ignore[call-overload,unused-ignore]
        except errors.UndefinedTable:
            if any(spec.audit_trail == "cdc" for spec in self._specs.values()):
                raise
            connection.rollback()
            rows = []
        until = {name: parse_lsn(last) for name, _, last in rows if last is not None}
        return {name: parse_lsn(lsn) or -1 for name, lsn, _ in rows}, until


__all__ = ["TrailPositions"]
