"""Queries over the lake."""

from .overview import TableSize, table_sizes
from .query import Answer, ask

__all__ = ["Answer", "TableSize", "ask", "table_sizes"]
