"""The audit context in SQLAlchemy: given to every transaction of an engine that begins inside an `audit` block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import quoted_name

from .audit import CURRENT, EMIT, Context, Port, register

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

STALE = "bv.audit.stale"
"""In `Connection.info`: the context goes before the next statement (a savepoint was rolled back)."""


def install(engine: sa.Engine | AsyncEngine) -> None:
    """Let `audit(user=...)` without a connection reach every transaction of this engine. Again is harmless."""
    sync = _synchronous(engine)
    for name, listener in (
        ("begin", _on_begin),
        ("begin_twophase", _on_begin_twophase),
        ("rollback_savepoint", _on_rollback_savepoint),
        ("before_cursor_execute", _on_statement),
    ):
        if not sa.event.contains(sync, name, listener):
            sa.event.listen(sync, name, listener)


def _on_begin(connection: sa.Connection) -> None:
    connection.info.pop(STALE, None)
    contexts = CURRENT.get()
    if contexts and not _autocommits(connection):
        _emit(connection, contexts[-1])


def _on_begin_twophase(connection: sa.Connection, _xid: object) -> None:
    """Before it has begun: the context goes before its first statement."""
    if CURRENT.get():
        connection.info[STALE] = True


def _autocommits(connection: sa.Connection) -> bool:
    """SQLAlchemy's transaction is then in name only, and a context would be one of its own."""
    try:
        driver = connection.connection.dbapi_connection
        return driver is not None and connection.dialect.detect_autocommit_setting(driver)
    except NotImplementedError:
        return False


def _on_rollback_savepoint(connection: sa.Connection, _name: str | quoted_name, _context: None) -> None:
    if CURRENT.get():
        connection.info[STALE] = True


def _on_statement(connection: sa.Connection, _cursor: DBAPICursor, statement: str, *_: Any) -> None:
    if connection.info.get(STALE) and not statement.startswith("ROLLBACK TO"):
        del connection.info[STALE]
        if contexts := CURRENT.get():
            _emit(connection, contexts[-1])


def _emit(connection: sa.Connection, context: Context) -> None:
    """On a bare cursor: inside `begin` SQLAlchemy's own execute would begin once more."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(_in_style(connection.dialect.paramstyle), context.values)
    finally:
        cursor.close()


def _in_style(paramstyle: str) -> str:
    if paramstyle != "numeric_dollar":  # format and pyformat
        return EMIT
    parts = EMIT.split("%s")
    return "".join(f"{part}${n}::text" for n, part in enumerate(parts[:-1], 1)) + parts[-1]


class _Port:
    """A Session or Connection: emits at once when its transaction has begun, else the listener does."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._sync = _synchronous(target)
        for engine in _engines(self._sync):
            install(engine)

    def emit(self, context: Context) -> None:
        connection = _begun(self._sync)
        if connection is not None:
            _emit(connection, context)

    async def emit_async(self, context: Context) -> None:
        if hasattr(self._target, "run_sync"):
            await self._target.run_sync(lambda _: self.emit(context))
        else:
            self.emit(context)

    def wants_transaction(self) -> bool:
        return False

    def transaction(self) -> Any:
        raise NotImplementedError

    def writable(self) -> bool:
        return _begun(self._sync) is not None


def _synchronous(target: Any) -> Any:
    """What an async Session, Connection or Engine drives.

    Known by its module, because importing that needs greenlet, which only users of asyncio have.
    """
    if type(target).__module__.startswith("sqlalchemy.ext.asyncio"):
        for name in ("sync_session", "sync_connection", "sync_engine"):
            if hasattr(target, name):
                return getattr(target, name)
    return target


def _engines(target: Any) -> list[sa.Engine]:
    if isinstance(target, sa.Engine):
        return [target]
    if isinstance(target, sa.Connection):
        return [target.engine]
    if isinstance(target, Session):
        binds = [target.bind, *getattr(target, "_Session__binds", {}).values()]
        return [bind if isinstance(bind, sa.Engine) else bind.engine for bind in binds if bind is not None]
    return []


def _begun(target: Any) -> sa.Connection | None:
    """The connection of the open transaction, None when there is none yet."""
    if isinstance(target, sa.Connection):
        return target if target.in_transaction() else None
    if isinstance(target, Session) and target.bind is not None and target.in_transaction() and target.is_active:
        return target.connection()
    return None


def _open(target: Any) -> Port | None:
    known = target is None or isinstance(_synchronous(target), (sa.Engine, sa.Connection, Session))
    return _Port(target) if known else None


register(_open)
