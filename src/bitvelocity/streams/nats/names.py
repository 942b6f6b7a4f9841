"""Where things lie on a NATS server: a stream for each partition, and subjects that tell what is in it.

| name | what |
|---|---|
| `shop=2Eorders-0` | stream of partition 0 of the topic `shop.orders` |
| `shop.orders.0` | subject of its records |
| `bv-mark.shop.orders.0.<writer>` | marks: what a batch holds, and the highest place of a publisher; in the same stream |
| `bv-wake.shop.orders.0` | a call without content, not stored: something was written |
| `KV_bv-groups`, `KV_bv-publishers` | key-value buckets: groups with their leases and offsets, publishers |
"""

from __future__ import annotations

import re

from ...errors import BusError
from ..bus import Partition

GROUPS, PUBLISHERS = "bv-groups", "bv-publishers"
NOBODY = "="
"""The writer of marks that belong to no publisher: no quoted name is this."""
LONGEST = 180
"""The server makes a folder for each stream; its name has to fit, with what we add."""

_TOPIC = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_OURS = ("bv-mark", "bv-wake")
_SAFE = re.compile(rb"[A-Za-z0-9_-]")


def check_topic(name: str) -> None:
    """Refuse what a NATS subject or a Kafka topic cannot be called."""
    if not _TOPIC.fullmatch(name) or name.split(".", maxsplit=1)[0] in _OURS or len(quoted(name)) > LONGEST:
        raise BusError(
            f"{name!r} cannot be the name of a topic on NATS.", entity=name,
            safe="Nothing was made.",
            remedy="Use letters, digits, '_' and '-', in parts joined by single dots; "
            f"at most {LONGEST} characters, a dot counting as three; not beginning with bv-mark or bv-wake.",
        )  # fmt: skip


def quoted(text: str) -> str:
    """A text as one token of a subject, or the name of a stream: other characters as `=` and two hexadecimal digits."""
    return "".join(
        chr(byte) if _SAFE.match(bytes([byte])) else f"={byte:02X}"
        for byte in text.encode("utf-8", "surrogatepass")
    )


def stream_of(partition: Partition) -> str:
    return f"{quoted(partition.topic)}-{partition.number}"


def subject_of(partition: Partition) -> str:
    return f"{partition.topic}.{partition.number}"


def mark_of(partition: Partition, writer: str) -> str:
    """`writer`: the name of a publisher, or `NOBODY`."""
    return f"bv-mark.{subject_of(partition)}.{NOBODY if writer == NOBODY else quoted(writer)}"


def wake_of(partition: Partition) -> str:
    return f"bv-wake.{subject_of(partition)}"
