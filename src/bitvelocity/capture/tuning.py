"""What can be chosen for a source of changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bitvelocity.changes import Passing, pass_by

from .feed import FeedName


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What hardly anybody has to change.

    - `limit`: bytes of frames held in memory before reading stops until the consumer has taken some.
    - `settings`: server settings of the streaming session, `{"logical_decoding_work_mem": "256MB"}`.
    - `failover`: the slot is to follow to a standby (PostgreSQL 17 or newer), or no longer; None leaves it as it is.
    - `primary`: when the source is a standby, the DSN of its primary: a new slot waits for a word from there.
    - `patience`: seconds to wait for the slot's last reader to be gone.
    - `readers`: connections that read the first snapshot.
    - `report_every`: seconds between two reports to the server when there is nothing new to say.
    - `silence`: seconds without a word from the walsender, though it was asked, after which it is taken for lost.
    - `feed`: `auto` reads a backlog through COPY, whenever there is one, and goes over to the walsender when level; the
      others read through one of them only. Where COPY cannot be had (standby, TLS, no free slot), the walsender is read in any case.
    - `behind`: bytes of WAL that make a backlog; `look_every`: seconds between two looks at that of the walsender.
    - `at`: told of each step that could be the last one of a process that is killed.
    - `detail`: give batches the columns of `DETAIL_FIELDS`, and the transactions themselves.
    """

    limit: int = 48 << 20
    settings: Mapping[str, str] = field(default_factory=dict)
    failover: bool | None = None
    primary: str = ""
    patience: float = 10.0
    report_every: float = 10.0
    silence: float = 60.0
    feed: FeedName = "auto"
    behind: int = 64 << 20
    look_every: float = 2.0
    readers: int = 2
    at: Passing = pass_by
    detail: bool = False
