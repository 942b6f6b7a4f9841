"""Where schemas are kept: the seam, and the book of connections that its engines share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any, Protocol

from .rows import Run


class Store(Protocol):
    """Keeps schemas for several processes at once, each with several threads.

    `reading` shows one moment: what is committed while it is open is not seen. `writing` is alone: whoever else wants
    to write waits, in whatever process, so that numbers are given once and in order. Leaving it commits durably; an
    exception takes everything back. `close` ends the connections that nobody uses.
    """

    def reading(self) -> AbstractContextManager[Run]: ...

    def writing(self) -> AbstractContextManager[Run]: ...

    def close(self) -> None: ...


class Connections:
    """Connections that threads borrow one at a time; one that failed is not lent again."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._idle: list[Any] = []
        self._lock = Lock()

    @contextmanager
    def borrow(self, begin: Callable[[Any], None]) -> Iterator[Any]:
        """A connection in which `begin` has begun a transaction; committed, or rolled back, when given back."""
        connection = self._begun(begin)
        try:
            yield connection
            connection.execute("commit")
        except BaseException:
            self._undo(connection)
            raise
        self._return(connection)

    def _begun(self, begin: Callable[[Any], None]) -> Any:
        """An idle connection may have died with its server; a new one says why it cannot begin."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            try:
                begin(connection)
            except Exception:  # whatever it is, nothing was done in it, and a new one will say
                connection.close()
            else:
                return connection
        connection = self._connect()
        try:
            begin(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _undo(self, connection: Any) -> None:
        """A refusal is no fault of the connection; one that cannot roll back is closed, which does it too."""
        try:
            connection.execute("rollback")
        except Exception:  # the fault that led here is raised, and says more
            connection.close()
        else:
            self._return(connection)

    def _return(self, connection: Any) -> None:
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
