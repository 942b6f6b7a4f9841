"""The embedded transport: topics in SQLite files, one Arrow blob per batch, several processes of one machine."""

from .engine import EmbeddedBus
from .topicfile import Older

__all__ = ["EmbeddedBus", "Older"]
