"""Change capture: what commits in the source, as change sets in the order of its commits."""

from .health import SlotHealth, Thresholds, slot_health
from .wal import SourceStats, Tuning, WalSource

__all__ = ["SlotHealth", "SourceStats", "Thresholds", "Tuning", "WalSource", "slot_health"]
