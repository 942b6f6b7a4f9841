"""Who does it, and in the course of what: the audit context of a transaction.

The context rides the WAL as one logical message (`bv.audit`), which capture joins to every row of the transaction, and
stands in three session settings for as long as the transaction lasts, where the stamping trigger reads it. One round
trip; no privilege needed; it passes through a connection pooler in transaction mode.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeAlias, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from ..errors import DatabaseError

EMIT = (
    "select set_config('bv.operation_user', %s, true), set_config('bv.correlation_id', %s, true),"
    " set_config('bv.source', %s, true), set_config('bv.context', 'given', true),"
    " pg_logical_emit_message(true, 'bv.audit', %s)"
)
FALLBACK = "fallback:"
"""What the source of a context begins with that the database wrote itself, for a transaction that gave none."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a transaction is known by."""

    user: str
    correlation_id: str
    source: str | None = None
    traceparent: str | None = None

    @property
    def values(self) -> tuple[str, str, str, str]:
        """The parameters of `EMIT`."""
        message = {"user": self.user, "correlation_id": self.correlation_id, "source": self.source}
        if self.traceparent:
            message["traceparent"] = self.traceparent
        return self.user, self.correlation_id, self.source or "", json.dumps(message, ensure_ascii=False)


CURRENT: ContextVar[tuple[Context, ...]] = ContextVar("bv_audit", default=())
"""The open `audit` blocks, outermost first; SQLAlchemy's listeners read the last."""

Psycopg: TypeAlias = "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]"


class Port(Protocol):
    """How a context gets into the transaction of one kind of connection."""

    def emit(self, context: Context) -> None: ...

    async def emit_async(self, context: Context) -> None: ...

    def wants_transaction(self) -> bool:
        """There is none, and nothing would begin one by itself."""
        ...

    def transaction(self) -> Any:
        """A block that is one transaction."""
        ...

    def writable(self) -> bool:
        """Inside a transaction that is not broken."""
        ...


Opener = Callable[[Any], Port | None]
_OPENERS: list[Opener] = []
_OPEN: WeakKeyDictionary[Any, list[Context]] = WeakKeyDictionary()


class Audit:
    """One `with audit(...)` block, for `with` and `async with`. Entering gives the `Context`."""

    def __init__(self, connection: Any, context: Context) -> None:
        self.context = context
        self._connection = connection
        self._port = _port(connection)
        self._transaction: Any = None
        self._token: Token[tuple[Context, ...]] | None = None

    def __enter__(self) -> Context:
        if self._port.wants_transaction():
            self._transaction = self._port.transaction()
            self._transaction.__enter__()
        try:
            self._port.emit(self._begin())
        except BaseException:
            self._abandon()
            raise
        return self.context

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outer = self._end()
        if self._transaction:
            self._transaction.__exit__(kind, error, trace)
        elif outer and self._port.writable():
            self._port.emit(outer)

    async def __aenter__(self) -> Context:
        if self._port.wants_transaction():
            self._transaction = self._port.transaction()
            await self._transaction.__aenter__()
        try:
            await self._port.emit_async(self._begin())
        except BaseException:
            self._abandon()
            raise
        return self.context

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outer = self._end()
        if self._transaction:
            await self._transaction.__aexit__(kind, error, trace)
        elif outer and self._port.writable():
            await self._port.emit_async(outer)

    def _begin(self) -> Context:
        if self._connection is not None:
            _OPEN.setdefault(self._connection, []).append(self.context)
        self._token = CURRENT.set((*CURRENT.get(), self.context))
        return self.context

    def _end(self) -> Context | None:
        """Leave the block; the context of the block around it on this connection, which holds again."""
        if self._token:
            CURRENT.reset(self._token)
            self._token = None
        if self._connection is None:
            return None
        blocks = _OPEN[self._connection]
        blocks.pop()
        return blocks[-1] if blocks else None

    def _abandon(self) -> None:
        self._end()
        self._transaction = None


def audit(
    connection: Any = None,
    *,
    user: str,
    correlation_id: str | uuid.UUID | None = None,
    source: str | None = None,
    traceparent: str | None = None,
) -> Audit:
    """Stamp what the block writes with who does it.

        with connection.transaction(), audit(connection, user="alice", source="shop"):
            connection.execute("update orders set status = 'SHIPPED' where ...")

    `connection`: a psycopg connection (sync, or async with `async with`); a SQLAlchemy Session, Connection or Engine,
    also async ones; None for every engine given to `install_audit`, and every connection of a class of
    `audit_psycopg`. `correlation_id` is a new UUID when none is given. `traceparent` is W3C's.

    - The context holds for the transaction that is open, to its end. On a psycopg connection in autocommit mode the
      block is a transaction of its own. After a commit inside the block, psycopg's next transaction has no context
      (open another block); SQLAlchemy's next transaction gets it by itself.
    - A block inside a block takes over; the outer context holds again after it.
    - ROLLBACK TO a savepoint takes back a context given after it: enter the block before the savepoint, or open
      another one. SQLAlchemy's is given again by itself.
    """
    if not user:
        raise DatabaseError("audit() needs to know who does it.", remedy='Name the person or program: user="alice".')
    if source and source.startswith(FALLBACK):
        what = f"The source {source!r} would look like a context that nobody gave."
        raise DatabaseError(what, remedy=f"Choose one that does not begin with {FALLBACK}")
    return Audit(connection, Context(user, str(correlation_id or uuid.uuid4()), source, traceparent))


def register(opener: Opener) -> None:
    """Teach `audit` another kind of connection: `opener` gives None for what it does not know."""
    _OPENERS.append(opener)


def _port(connection: Any) -> Port:
    for opener in _OPENERS:
        if port := opener(connection):
            return port
    raise DatabaseError(
        f"audit() cannot use a {type(connection).__module__}.{type(connection).__name__}.",
        remedy="Give a psycopg connection, or a SQLAlchemy Session, Connection or Engine.",
    )


class _PsycopgPort:
    def __init__(self, connection: Psycopg) -> None:
        self._connection = connection

    def emit(self, context: Context) -> None:
        cast("psycopg.Connection[Any]", self._connection).execute(EMIT, context.values)

    async def emit_async(self, context: Context) -> None:
        await cast("psycopg.AsyncConnection[Any]", self._connection).execute(EMIT, context.values)

    def wants_transaction(self) -> bool:
        wire = self._connection.pgconn
        idle = wire.transaction_status == TransactionStatus.IDLE
        # in a pipeline a BEGIN may be on its way: there the caller sees to the transaction
        return self._connection.autocommit and idle and wire.pipeline_status == PipelineStatus.OFF

    def transaction(self) -> Any:
        return self._connection.transaction()

    def writable(self) -> bool:
        return self._connection.pgconn.transaction_status == TransactionStatus.INTRANS


def _open_psycopg(connection: Any) -> Port | None:
    known = isinstance(connection, (psycopg.Connection, psycopg.AsyncConnection))
    return _PsycopgPort(connection) if known else None


register(_open_psycopg)
