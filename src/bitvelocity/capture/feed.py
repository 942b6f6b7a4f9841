"""What gives `WalSource` its transactions: the walsender's stream, or COPY while we are far behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast, get_args

from bitvelocity.changes import Passing, pass_by

from .frames import Frames
from .spill import Spilled

FeedName = Literal["auto", "walsender", "copy"]
"""Which feed to read: COPY when far behind and then the walsender, or one of them only."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Whole transactions in commit order, and how far the server had sent everything when they were taken."""

    items: tuple[Frames | Spilled, ...]
    sent: int


@dataclass(frozen=True, slots=True)
class Terms:
    """How a feed reads: bytes that it may hold, seconds between two reports, whether messages of their own are kept,
    seconds without a word after which the walsender is taken for lost, and, where another feed goes on after a while,
    the LSN up to which this one reads.
    """

    limit: int
    report_every: float = 1.0
    keep_messages: bool = False
    at: Passing = pass_by
    silence: float = 60.0
    until: int | None = None


@dataclass(slots=True)
class Traffic:
    """What came so far, over all feeds of a source."""

    bytes: int = 0
    frames: int = 0
    streamed: int = 0
    stray_messages: int = 0
    copied: int = 0
    """Frames that came through COPY."""
    cpu: float = 0.0
    waited: float = 0.0


def feed_named(name: str) -> FeedName:
    """The name as the settings have it, checked."""
    for known in get_args(FeedName):
        if name == known:
            return cast("FeedName", known)
    raise ValueError(name)


class Feed(Protocol):
    """Reads until it is closed, or until it is `finished`: then another feed goes on behind its last transaction."""

    @property
    def finished(self) -> bool:
        """Nothing more will come, and all that came was taken."""
        ...

    def take(self, timeout: float) -> Taken:
        """All whole transactions since the last call; waits up to `timeout` seconds for the first."""
        ...

    def confirm(self, lsn: int) -> None:
        """Everything below `lsn` is durable; the server hears of it soon."""
        ...

    def close(self) -> None:
        """Tell the server what is confirmed, and stop reading."""
        ...
