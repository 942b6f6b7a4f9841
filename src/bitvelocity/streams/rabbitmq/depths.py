"""What waits in queues, for a look: over a connection of its own, which makes nothing and takes nothing."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence

from ...errors import BusError
from ..lag import DEAD, UNCLAIMED, Depth
from .address import parse_address
from .amqp import NOT_FOUND, Amqp
from .topics import groups


def depths(address: str, topics: Sequence[str], *, user: str = "", password: str = "", tls: ssl.SSLContext | None = None) -> list[Depth]:
    """Of each topic that is there: what waits for each of its groups, for the first group, and what was set apart.

    Records that a member has and has not acknowledged are not counted. A queue whose leader is away is told by RabbitMQ to be empty.
    Queues that other programs have bound are not known: no command of AMQP lists them.
    """
    amqp = Amqp(parse_address(address, user=user, password=password, trust=tls), name="bitvelocity look")
    try:
        known = groups(amqp)
        wanted = {f"{topic}.{group}": (topic, group) for topic in topics for group in (*known.get(topic, ()), UNCLAIMED, DEAD)}
        return [Depth(*wanted[queue], records) for queue, records in _counted(amqp, wanted).items()]
    finally:
        amqp.close()


def _counted(amqp: Amqp, queues: Iterable[str]) -> Mapping[str, int]:
    """How many records stand in each queue that is there."""
    channel, found = amqp.channel(), dict[str, int]()
    for queue in queues:
        try:
            found[queue] = int(channel.ask("queue_declare", queue=queue, passive=True).method.message_count)
        except BusError as error:
            if error.code != NOT_FOUND:
                raise
            channel.close()
            channel = amqp.channel()
    return found


__all__ = ["depths"]
