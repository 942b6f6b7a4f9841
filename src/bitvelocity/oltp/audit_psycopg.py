"""psycopg connections that take the context from the open `audit(user=...)` block by themselves, for pools.

    ConnectionPool(dsn, connection_class=AuditConnection)

Each transaction that begins inside a block gets the context with its first statement, or with `transaction()`. In
autocommit mode a statement outside of `transaction()` has no transaction that could carry one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

import psycopg
from psycopg.abc import Params, Query
from psycopg.pq import TransactionStatus
from psycopg.rows import Row

from .audit import CURRENT, EMIT, Context


class AuditCursor(psycopg.Cursor[Row]):
    """Gives the context before the first statement of a transaction."""

    def execute(self, query: Query, params: Params | None = None, **options: Any) -> Self:
        self._give()
        return super().execute(query, params, **options)  # type: ignore[arg-type]

    def executemany(self, query: Query, *rows: Any, **options: Any) -> None:
        self._give()
        super().executemany(query, *rows, **options)

    @contextmanager
    def copy(self, *words: Any, **options: Any) -> Iterator[psycopg.Copy]:
        self._give()
        with super().copy(*words, **options) as copy:
            yield copy

    def stream(self, *words: Any, **options: Any) -> Iterator[Row]:
        self._give()
        yield from super().stream(*words, **options)

    def _give(self) -> None:
        if (context := _due(self.connection)) is not None:
            super().execute(EMIT, context.values)


class AsyncAuditCursor(psycopg.AsyncCursor[Row]):
    """Gives the context before the first statement of a transaction."""

    async def execute(self, query: Query, params: Params | None = None, **options: Any) -> Self:
        await self._give()
        return await super().execute(query, params, **options)  # type: ignore[arg-type]

    async def executemany(self, query: Query, *rows: Any, **options: Any) -> None:
        await self._give()
        await super().executemany(query, *rows, **options)

    @asynccontextmanager
    async def copy(self, *words: Any, **options: Any) -> AsyncIterator[psycopg.AsyncCopy]:
        await self._give()
        async with super().copy(*words, **options) as copy:
            yield copy

    async def stream(self, *words: Any, **options: Any) -> AsyncIterator[Row]:
        await self._give()
        async for row in super().stream(*words, **options):
            yield row

    async def _give(self) -> None:
        if (context := _due(self.connection)) is not None:
            await super().execute(EMIT, context.values)


class AuditConnection(psycopg.Connection[Row]):
    """A `psycopg.Connection` whose transactions carry the context of the block that they begin in."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.cursor_factory = AuditCursor

    @contextmanager
    def transaction(self, *words: Any, **options: Any) -> Iterator[psycopg.Transaction]:
        begins = self.info.transaction_status == TransactionStatus.IDLE
        with super().transaction(*words, **options) as block:
            if begins and (context := _current()) is not None:
                psycopg.Cursor(self).execute(EMIT, context.values)
            yield block


class AsyncAuditConnection(psycopg.AsyncConnection[Row]):
    """A `psycopg.AsyncConnection` whose transactions carry the context of the block that they begin in."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.cursor_factory = AsyncAuditCursor

    @asynccontextmanager
    async def transaction(self, *words: Any, **options: Any) -> AsyncIterator[psycopg.AsyncTransaction]:
        begins = self.info.transaction_status == TransactionStatus.IDLE
        async with super().transaction(*words, **options) as block:
            if begins and (context := _current()) is not None:
                await psycopg.AsyncCursor(self).execute(EMIT, context.values)
            yield block


def _current() -> Context | None:
    blocks = CURRENT.get()
    return blocks[-1] if blocks else None


def _due(connection: Any) -> Context | None:
    """The context, when the next statement begins a transaction."""
    begins = not connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE
    return _current() if begins else None
