"""Queries over the lake."""

from .overview import TableSize, table_sizes, told_above
from .query import Answer, ask, shut_in
from .trace import GoldStand, Trace, TracedChange, trace

__all__ = ["Answer", "GoldStand", "TableSize", "Trace", "TracedChange", "ask", "shut_in", "table_sizes", "told_above", "trace"]
