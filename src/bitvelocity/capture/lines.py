"""The connections that one source has open: they end together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress

from bitvelocity.errors import CaptureError

from .connection import Connection, Wire, connect, open_wire, our_errors
from .failures import Place


class Lines:
    """Makes connections to one server and closes them all at once."""

    def __init__(self, dsn: str, place: Place) -> None:
        self._dsn, self._place = dsn, place
        self._open = ExitStack()

    def connect(self, *, replication: bool = False, settings: Mapping[str, str] | None = None) -> Connection:
        connection = connect(self._dsn, self._place, replication=replication, settings=settings)
        self._open.callback(connection.close)
        return connection

    def brief(self) -> closing[Connection]:
        """One more connection, for a question: `with lines.brief() as connection`."""
        return closing(connect(self._dsn, self._place))

    def wire(self, connection: Connection) -> Wire:
        return self.keep(open_wire(connection))

    def keep(self, wire: Wire) -> Wire:
        """Close it with the others, before the connection that it belongs to."""
        self._open.callback(wire.close)
        return wire

    def close(self) -> None:
        """End them all; new ones may be made afterwards."""
        with suppress(OSError, CaptureError), our_errors(self._place):
            self._open.close()
