"""Connections to the source: one way to log in, one way to print values, errors as ours, and the bare
wire.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from struct import pack
from typing import Any, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from bitvelocity.errors import CaptureError, ConnectionLostError

from .failures import KEPT, Place, failure

PRINTING = {
    "datestyle": "ISO,YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}
"""How the server prints values to us, whatever the role's or the database's settings: stream and snapshot
alike.
"""
_PATIENT = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
}
_TRANSACTION_TIMEOUT_SINCE = 170_000
_KEEP_TRYING = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_CHUNK = 1 << 20

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(
    dsn: str, place: Place, *, replication: bool = False, settings: Mapping[str, str] | None = None
) -> Connection:
    """Log in. `settings` are server settings of this session."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise CaptureError(  # the cause would repeat the DSN, and with it the password
            "The DSN of the source cannot be read.",
            remedy="Write it as postgresql://user:password@host:port/database or host=... dbname=... .",
        ) from None
    wanted = {**PRINTING, **_PATIENT, **(settings or {})}
    options = " ".join(f"-c {name}={_escape(value)}" for name, value in wanted.items())
    given["options"] = f"{given.get('options') or ''} {options}".strip()
    defaults = {**_KEEP_TRYING, "gssencmode": "disable", "application_name": "bitvelocity capture"}
    full = {
        **defaults,
        **given,
        "client_encoding": "utf8",
        **({"replication": "database"} if replication else {}),
    }
    try:
        connection = psycopg.connect(make_conninfo("", **full), autocommit=True)
    except psycopg.OperationalError as error:
        raise _login_failure(error, place) from error
    if connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE:
        connection.execute("set transaction_timeout = 0")  # a first snapshot is one transaction, of any length
    return connection


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


_ON_ITS_WAY = "the database system is"
"""... starting up, shutting down, in recovery mode, not yet accepting connections: it will, by itself."""
_LOGIN_STATES = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "pg_hba.conf": "28000",
    "role ": "28000",
    "database ": "3D000",
    "permission denied": "42501",
    "must have the REPLICATION attribute": "42501",
    "must be superuser or replication role": "42501",
    "remaining connection slots": "53300",
    "max_wal_senders": "53300",
}


def _login_failure(error: psycopg.OperationalError, place: Place) -> CaptureError:
    """libpq gives no SQLSTATE for a refused login, only the text."""
    text = str(error).strip()
    said = text.rpartition("FATAL:")[2].strip() or text
    if "FATAL:" in text and not said.startswith(_ON_ITS_WAY):
        for phrase, state in _LOGIN_STATES.items():
            if phrase in said:
                return failure(state, said, place)
    return ConnectionLostError(
        f"The source cannot be reached: {said}",
        safe=KEPT,
        remedy="Check host and port, and that PostgreSQL runs.",
    )


@contextmanager
def our_errors(place: Place) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip() or type(error).__name__
        raise failure(error.sqlstate, message, place) from error
    except OSError as error:
        raise ConnectionLostError(f"The connection to the source was lost: {error}", safe=KEPT) from error


class Wire(Protocol):
    """The messages of the PostgreSQL protocol, as bytes, after login.

    - `query` sends a simple query; `receive` gives the server's messages as they come, cut anywhere.
    - `receive` gives nothing after a quarter of a second of silence.
    - `close` leaves the connection itself to its owner.
    """

    def query(self, statement: bytes) -> None: ...

    def send(self, data: bytes) -> None:
        """Send one CopyData message."""
        ...

    def receive(self) -> memoryview | bytearray: ...

    def interrupt(self) -> None:
        """Make a `receive` that waits in another thread end soon. Sending is still possible."""
        ...

    def close(self) -> None: ...


def open_wire(connection: Connection) -> Wire:
    """The bare socket where the connection is not encrypted, else libpq."""
    pgconn = connection.pgconn
    return LibpqWire(pgconn) if is_encrypted(connection) else SocketWire(pgconn.socket)


def is_encrypted(connection: Connection) -> bool:
    """Whether only libpq can read what the server sends."""
    asked = connection.info.get_parameters().get("gssencmode", "disable")
    return bool(connection.pgconn.ssl_in_use) or asked != "disable"


class SocketWire:
    """Reads the socket past libpq: a receive holds thousands of messages, where libpq gives one at a time."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._socket.setblocking(True)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("ll", 0, 250_000))
        self._chunk = memoryview(bytearray(_CHUNK))

    def query(self, statement: bytes) -> None:
        self._socket.sendall(b"Q" + pack(">I", len(statement) + 5) + statement + b"\0")

    def send(self, data: bytes) -> None:
        self._socket.sendall(b"d" + pack(">I", len(data) + 4) + data)

    def receive(self) -> memoryview | bytearray:
        try:
            count = self._socket.recv_into(self._chunk)
        except BlockingIOError:
            return self._chunk[:0]
        if not count:
            raise ConnectionResetError("the server closed the connection")
        return self._chunk[:count]

    def interrupt(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("ll", 0, 0))
        self._socket.setblocking(False)  # as libpq left it: both descriptors share this flag
        self._socket.close()


class LibpqWire:
    """The same through libpq, which must do the reading when the connection is encrypted."""

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._copying = False

    def query(self, statement: bytes) -> None:
        self._pgconn.send_query(statement)
        self._flush()

    def send(self, data: bytes) -> None:
        self._pgconn.put_copy_data(data)
        self._flush()

    def _flush(self) -> None:
        while self._pgconn.flush():
            select.select([], [self._pgconn.socket], [], 1)

    def receive(self) -> memoryview | bytearray:
        out = bytearray()
        while len(out) < _CHUNK:
            if not self._copying:
                out += self._answer()
                if not self._copying:
                    break
            size, data = self._pgconn.get_copy_data(1)
            if size > 0:
                out += b"d" + pack(">I", size + 4)
                out += data
            elif size < 0:
                self._copying = False
            elif out or not self._wait():
                break
        return out

    def _wait(self) -> bool:
        ready = bool(select.select([self._pgconn.socket], [], [], 0.25)[0])
        if ready:
            self._pgconn.consume_input()
        return ready

    def _answer(self) -> bytes:
        """The next result as the message that a bare wire would have shown."""
        while self._pgconn.is_busy():
            if not self._wait():
                return b""
        result = self._pgconn.get_result()
        if result is None:
            return _message(b"Z", b"I")
        if result.status in (ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH):
            self._copying = True
            return _message(b"W", b"")
        if result.status == ExecStatus.FATAL_ERROR:
            sqlstate = result.error_field(_SQLSTATE) or b""
            reason = result.error_field(_PRIMARY) or result.error_message
            return _message(b"E", b"C" + sqlstate + b"\0M" + reason + b"\0\0")
        return b""

    def interrupt(self) -> None:
        """A `receive` ends by itself within a quarter of a second."""

    def close(self) -> None:
        """Nothing of its own to close."""


_SQLSTATE, _PRIMARY = psycopg.pq.DiagnosticField.SQLSTATE, psycopg.pq.DiagnosticField.MESSAGE_PRIMARY


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + pack(">I", len(body) + 4) + body
