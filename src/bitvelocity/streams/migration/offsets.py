"""Which offset of a copy is which of what was copied."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


@dataclass(slots=True)
class Offsets:
    """Pairs of offsets of one partition, as runs in which both count one by one. `first`: the copy's first offset."""

    first: int = 0
    records: int = 0
    _sources: list[int] = field(default_factory=list)
    _targets: list[int] = field(default_factory=list)
    _lengths: list[int] = field(default_factory=list)

    def add(self, sources: Numbers, targets: Numbers) -> None:
        """More of them; both rise."""
        if not len(sources):
            return
        breaks = np.flatnonzero((np.diff(sources) != 1) | (np.diff(targets) != 1)) + 1
        begins = np.concatenate([[0], breaks])
        lengths = np.diff(np.concatenate([begins, [len(sources)]]))
        for begin, length in zip(begins.tolist(), lengths.tolist(), strict=True):
            self._extend(int(sources[begin]), int(targets[begin]), length)
        self.records += len(sources)

    def _extend(self, source: int, target: int, length: int) -> None:
        if self._sources:
            reach = self._lengths[-1]
            if self._sources[-1] + reach == source and self._targets[-1] + reach == target:
                self._lengths[-1] += length
                return
        self._sources.append(source)
        self._targets.append(target)
        self._lengths.append(length)

    def to(self, offset: int) -> int:
        """The next offset in the copy of a reader whose next one is `offset`: behind the last record that it has read."""
        run = bisect_right(self._sources, offset - 1) - 1
        if run < 0:
            return self.first
        return self._targets[run] + min(offset - self._sources[run], self._lengths[run])
