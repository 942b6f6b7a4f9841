"""The bus over NATS JetStream: one stream for each partition, batches that are written whole or not at all."""

from .bus import NatsBus

__all__ = ["NatsBus"]
