"""Change capture: what commits in the source, as change sets in the order of its commits."""

from .export import Export, export_tables
from .feed import feed_named
from .health import SlotHealth, Thresholds, slot_health
from .identity import Identity, check_history, identify, write_past
from .passing_slot import passing_source
from .tuning import Tuning
from .wal import SourceStats, WalSource

__all__ = [
    "Export",
    "Identity",
    "SlotHealth",
    "SourceStats",
    "Thresholds",
    "Tuning",
    "WalSource",
    "check_history",
    "export_tables",
    "feed_named",
    "identify",
    "passing_source",
    "slot_health",
    "write_past",
]
