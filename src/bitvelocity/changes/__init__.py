"""The words that stations share: position, batch, change set, receipt, source, sink."""

from .batch import (
    AFTER,
    BEFORE,
    DETAIL_FIELDS,
    MESSAGES,
    SYSTEM_COLUMNS,
    SYSTEM_FIELDS,
    TRANSACTIONS,
    Batch,
    ChangeSet,
    Mark,
    MemoryChangeSet,
    Shape,
    is_table,
)
from .passing import Passing, pass_by, within
from .position import Position, format_lsn, parse_lsn
from .sink import Receipt, Sink
from .source import Source
from .twin import Sums, Twin
from .unsent import Unsent, unsent_from

__all__ = [
    "AFTER", "BEFORE", "DETAIL_FIELDS", "MESSAGES", "SYSTEM_COLUMNS", "SYSTEM_FIELDS", "TRANSACTIONS", "Batch",
    "ChangeSet", "Mark", "MemoryChangeSet", "Passing", "Position", "Receipt", "Shape", "Sink", "Source", "Sums",
    "Twin", "Unsent", "format_lsn", "is_table", "parse_lsn", "pass_by", "unsent_from", "within",
]  # fmt: skip
