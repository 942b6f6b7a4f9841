"""The words that stations share: position, batch, change set, receipt, source, sink."""

from .batch import (
    AFTER,
    BEFORE,
    SYSTEM_COLUMNS,
    SYSTEM_FIELDS,
    Batch,
    ChangeSet,
    Mark,
    MemoryChangeSet,
)
from .passing import Passing, pass_by, within
from .position import Position, format_lsn, parse_lsn
from .sink import Receipt, Sink
from .source import Source

__all__ = [
    "AFTER", "BEFORE", "SYSTEM_COLUMNS", "SYSTEM_FIELDS", "Batch", "ChangeSet", "Mark", "MemoryChangeSet",
    "Passing", "Position", "Receipt", "Sink", "Source", "format_lsn", "parse_lsn", "pass_by", "within",
]  # fmt: skip
