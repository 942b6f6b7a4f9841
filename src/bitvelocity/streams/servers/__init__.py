"""Servers that `bv up --with` and the tests start on this machine: found or fetched, on loopback, data in one folder."""

from collections.abc import Callable, Mapping

from .kafka import KafkaServer
from .local import MISSING, Launch, LocalServer, Ports, Recipe, Tell, free_ports, missing

SERVERS: Mapping[str, Callable[[], Recipe]] = {"kafka": KafkaServer}
"""The recipes by the names of their servers."""

__all__ = [
    "MISSING", "SERVERS", "KafkaServer", "Launch", "LocalServer", "Ports", "Recipe", "Tell", "free_ports", "missing",
]  # fmt: skip
