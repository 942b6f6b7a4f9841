"""Change capture: what commits in the source, as change sets in the order of its commits."""

from .wal import SourceStats, Tuning, WalSource

__all__ = ["SourceStats", "Tuning", "WalSource"]
