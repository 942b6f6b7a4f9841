"""Carrying out a plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from ..errors import DatabaseError
from .connect import connect
from .failures import explained
from .plan import Plan
from .shadow import SEARCH_PATH
from .steps import Refused, Step

LOCK = "bitvelocity apply"
DONE = "The steps before it are done; rows are untouched."
HELD = "Rows are untouched, but new ones must keep to the rule now, and old ones when they are updated."


@dataclass(frozen=True, slots=True)
class AppliedReport:
    """What was done, and what was refused."""

    done: tuple[Step, ...]
    refused: tuple[Refused, ...] = ()


def apply(dsn: str, plan: Plan, *, lock_timeout: str = "10s") -> AppliedReport:
    """Carry out the plan: all quick steps in one transaction, then the slow ones each by itself.

    When a slow step fails, those before it stay; plan and apply again to go on from there. A plan with a conflict
    changes nothing. Two of us never apply at the same time.

    `lock_timeout`: a DDL statement that waits for a lock makes everybody behind it wait too, so it gives up.
    """
    for refused in plan.conflicts:
        raise DatabaseError(
            f"Entity and database disagree: {refused.reason}",
            entity=refused.entity,
            safe="Nothing was changed.",
            remedy=refused.remedy,
            code="Disagreement",
        )
    if not plan.steps:
        return AppliedReport((), plan.refused)
    with connect(dsn, autocommit=True) as connection, _alone(connection):
        with connection.transaction():
            connection.execute(SEARCH_PATH)
            connection.execute("select set_config('lock_timeout', %s, true)", [lock_timeout])
            for step in plan.steps:
                if not step.alone:
                    _run(connection, step, "Nothing was changed.")
        connection.execute(SEARCH_PATH.replace("local ", ""))
        for step in plan.steps:
            if step.alone:
                # CONCURRENTLY waits for old transactions, and nobody waits for it
                patience = "0" if "concurrently" in step.sql.lower() else lock_timeout
                connection.execute("select set_config('lock_timeout', %s, false)", [patience])
                _run(connection, step, HELD if "validate constraint" in step.sql else DONE)
    return AppliedReport(plan.steps, plan.refused)


def _run(connection: psycopg.Connection, step: Step, safe: str) -> None:
    try:
        connection.execute(step.sql)
    except psycopg.Error as error:
        if step.undo and not connection.broken:
            with suppress(psycopg.Error):  # the next plan sees what is left
                connection.execute("set lock_timeout = '10s'")
                connection.execute(step.undo)
        raise explained(error, doing=f"A step ({step.reason.rstrip('.')})", entity=step.entity, safe=safe) from error


@contextmanager
def _alone(connection: psycopg.Connection) -> Iterator[None]:
    """One apply per database at a time; the lock goes with the connection."""
    row = connection.execute("select pg_try_advisory_lock(hashtext(%s))", [LOCK]).fetchone()
    if not row or not row[0]:
        raise DatabaseError(
            "Another apply is at work on this database.", safe="Nothing was changed.", remedy="Let it end, then plan again."
        )
    try:
        yield
    finally:
        if not connection.closed and not connection.broken:
            connection.execute("select pg_advisory_unlock(hashtext(%s))", [LOCK])
