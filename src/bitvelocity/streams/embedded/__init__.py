"""The embedded transport: topics in SQLite files, one Arrow blob per batch, several processes of one machine."""

from .engine import EmbeddedBus
from .gone import Older

__all__ = ["EmbeddedBus", "Older"]
