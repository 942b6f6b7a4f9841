"""Servers that `bv up --with` and the tests start on this machine: found or fetched, on loopback, data in one folder."""

from collections.abc import Callable, Mapping

from .kafka import KafkaServer
from .local import MISSING, Launch, LocalServer, Ports, Recipe, Tell, missing
from .nats import NatsServer
from .rabbitmq import RabbitServer

SERVERS: Mapping[str, Callable[[], Recipe]] = {"kafka": KafkaServer, "nats": NatsServer, "rabbitmq": RabbitServer}
"""The recipes by the names of their servers."""

__all__ = [
    "MISSING", "SERVERS", "KafkaServer", "Launch", "LocalServer", "NatsServer", "Ports", "RabbitServer", "Recipe", "Tell",
    "missing",
]  # fmt: skip
