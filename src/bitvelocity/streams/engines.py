"""The transports by name, and what each can do: asked before one is opened."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from bitvelocity.errors import BusError, MissingExtraError

from .bus import Abilities

DECLARED = {
    "embedded": "bitvelocity.streams.embedded.engine",
    "kafka": "bitvelocity.streams.kafka.bus",
    "nats": "bitvelocity.streams.nats.bus",
    "rabbitmq": "bitvelocity.streams.rabbitmq.streams",
    "rabbitmq-queues": "bitvelocity.streams.rabbitmq.queues",
}
"""Name of a transport, and the file whose `ABILITIES` says what it can do. Its extra has the first word of its name."""


def abilities_of(name: str) -> Abilities:
    """What a transport can do, without a connection to it."""
    if name not in DECLARED:
        raise BusError(f"There is no transport {name!r}.", remedy=f"One of: {', '.join(DECLARED)}.")
    try:
        module = import_module(DECLARED[name])
    except ModuleNotFoundError as missing:
        extra = name.partition("-")[0]
        raise MissingExtraError(
            f"The transport {name!r} needs the library {missing.name!r}.", remedy=f"pip install 'bitvelocity[{extra}]'"
        ) from missing
    return cast(Abilities, module.ABILITIES)
