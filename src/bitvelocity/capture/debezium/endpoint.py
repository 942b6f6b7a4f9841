"""Where the source is, in the words of Debezium: one host, one port, over TCP."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import conninfo, pq

from ...errors import SettingsError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A PostgreSQL server as a JDBC driver reaches it; no password."""

    host: str
    port: int
    database: str
    user: str
    sslmode: str = "prefer"
    sslrootcert: str = ""


def endpoint(dsn: str) -> Endpoint:
    """The endpoint that a DSN names, with libpq's own defaults for what it leaves out.

    A socket's folder becomes `localhost`: the JDBC driver speaks TCP only.
    """
    try:
        said = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:  # its message quotes the piece that it cannot read, which may be the password
        raise SettingsError("The DSN cannot be read.", remedy="Write it as postgresql://user@host:5432/database.") from None
    values = {**_defaults(), **{name: str(value) for name, value in said.items() if value}}
    host = values.get("host", "") or values.get("hostaddr", "")
    port = values.get("port", "") or "5432"
    if "," in host or not port.isdigit():
        raise SettingsError(
            "The DSN names several hosts, and Debezium takes one.",
            remedy="Set BITVELOCITY_DSN to a DSN with one of them, for this command.",
        )
    user = values.get("user", "") or "postgres"
    return Endpoint(
        host="localhost" if not host or host.startswith(("/", "@")) else host,
        port=int(port),
        database=values.get("dbname", "") or user,
        user=user,
        sslmode=values.get("sslmode", "") or "prefer",
        sslrootcert=values.get("sslrootcert", ""),
    )


def _defaults() -> dict[str, str]:
    """What libpq would take from the environment (PGHOST, PGUSER, ...) or by itself."""
    known = pq.Conninfo.get_defaults()
    return {option.keyword.decode(): option.val.decode() for option in known if option.val}
