"""Connecting to PostgreSQL, with errors that say which server, what is wrong and what to do, and never a password."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import conninfo
from psycopg.rows import TupleRow

from ..errors import DatabaseError

_DEFAULTS = {"connect_timeout": 10, "application_name": "bitvelocity", "client_encoding": "utf8"}
"""From a database of encoding SQL_ASCII psycopg would give bytes for every name."""
SHOWN = ("host", "hostaddr", "port", "dbname", "user", "service")


def connect(dsn: str, **options: Any) -> psycopg.Connection[TupleRow]:
    """A connection to `dsn`; a DatabaseError with remedy when there is none to be had."""
    describe(dsn)
    try:
        return psycopg.connect(dsn, **{**_DEFAULTS, **options})
    except psycopg.Error as error:
        raise unreachable(dsn, error) from error


def describe(dsn: str) -> str:
    """The DSN as people may see it: host, port, database and user, nothing else."""
    try:
        parts = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        # libpq's message quotes the piece it cannot read, which may be the password: the cause is left out.
        raise DatabaseError(
            "The DSN cannot be read.",
            remedy="Write it as postgresql://user:password@host:5432/database, with special characters %-encoded.",
        ) from None
    shown = " ".join(f"{name}={parts[name]}" for name in SHOWN if parts.get(name) is not None)
    return shown or "libpq's defaults"


def has_password(dsn: str) -> bool:
    """A password stands in the DSN itself, so it must not be written down."""
    return bool(conninfo.conninfo_to_dict(dsn).get("password"))


def unreachable(dsn: str, error: psycopg.Error) -> DatabaseError:
    """What a refused connection means and what to do about it."""
    message = " ".join(str(error).split())
    otherwise = "Check [database] dsn, or BITVELOCITY_DSN, against what psql accepts."
    return DatabaseError(
        f"No connection to PostgreSQL ({describe(dsn)}): {message}",
        safe="Nothing was read or written.",
        remedy=next((remedy for sign, remedy in _REMEDIES if sign in message), otherwise),
        code="NoConnection",
    )


_REMEDIES = (
    ("password authentication failed", "Correct user and password in the DSN; keep the password in ${VARIABLE}."),
    ("no password supplied", "Give the password: in the DSN as ${VARIABLE}, or in a passfile."),
    ("no pg_hba.conf entry", "Let this host in: a line in the server's pg_hba.conf, then select pg_reload_conf()."),
    ("does not exist", "Correct database and user in the DSN, or create them."),
    ("too many clients", "Close connections or raise max_connections."),
    ("remaining connection slots", "Close connections or raise max_connections."),
    ("starting up", "The server is starting; try again in a moment."),
    ("shutting down", "The server is stopping; start it again."),
    ("failed to resolve host", "Correct the host in the DSN."),
    ("Connection refused", "Start the server, or correct host and port in the DSN."),
    ("No such file or directory", "Start the server, or correct the socket folder (host) and port in the DSN."),
    ("timeout", "Check that host and port are right and no firewall stands between."),
)
