"""Which transactions a snapshot of the source sees. Pure.

A watermark before a read does not tell: a transaction is in the WAL a moment before others can see it (with synchronous
replication: long before). The snapshot's own list of running transactions tells exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_HALF = 1 << 31
_MASK = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Visible:
    """A snapshot as `pg_current_snapshot()` tells it: transactions from `end` on, and those in `running`, are not seen."""

    begin: int
    end: int
    running: tuple[int, ...] = ()

    @staticmethod
    def parse(text: str) -> Visible:
        """From the server's text: `10:20:10,14,15`."""
        begin, end, running = text.split(":")
        return Visible(int(begin), int(end), tuple(map(int, running.split(","))) if running else ())

    def hides(self, xids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which transactions are not seen. The stream gives the lower half of their ids, so they are compared in a ring."""
        ahead = (xids - (self.end & _MASK)) & _MASK
        hidden: npt.NDArray[np.bool_] = ahead < _HALF
        if self.running:
            hidden |= np.isin(xids & _MASK, np.array([xid & _MASK for xid in self.running], np.int64))
        return hidden

    def before(self, xid: int) -> tuple[int, ...]:
        """Transactions that have begun before `xid` did, and have not ended. Ask when `xid` itself has ended."""
        return tuple(running for running in self.running if running < xid)
