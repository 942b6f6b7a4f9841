"""The bus over NATS JetStream: one stream for each partition, batches that are written whole or not at all."""

from .bus import NatsBus
from .client import Login

__all__ = ["Login", "NatsBus"]
