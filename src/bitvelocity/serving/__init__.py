"""Queries over the lake."""

from .overview import TableSize, table_sizes
from .query import Answer, ask
from .trace import GoldStand, Trace, TracedChange, trace

__all__ = ["Answer", "GoldStand", "TableSize", "Trace", "TracedChange", "ask", "table_sizes", "trace"]
