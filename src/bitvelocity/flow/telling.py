"""The changes of a project's source as records of a format, for whoever wants to read them."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from ..capture import WalSource, passing_source
from ..capture.catalog import describe_source
from ..changes import ChangeSet
from ..changes.formats import Described, Encoder, Format, Moment, Options, heartbeat, options_for
from ..errors import SettingsError
from ..oltp import connect
from .database import Database
from .project import Project

_PAUSE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What somebody wants to read."""

    form: Format = "debezium"
    entities: Sequence[str] = ()
    """Nothing: all."""
    options: Mapping[str, str] = field(default_factory=dict)
    from_now: bool = False
    """Without the tables as they stand."""
    follow: bool = False
    """Go on with what commits."""


def change_records(project: Project, database: Database, wish: Telling) -> Generator[pa.Table, None, None]:
    """Records in the order of the source, some transactions at a time; through a slot of its own.

    Without `follow` it ends with what had been committed when it began.
    """
    options = _options(project, wish)
    messages = ("*",) if wish.form != "bitvelocity" else ()
    publication = project.settings.capture.publication

    def describe() -> Described:
        return describe_source(database.dsn)

    with passing_source(database.dsn, publication, messages=messages, from_now=wish.from_now) as source:
        end = _end(database.dsn)
        encoder = Encoder(wish.form, describe(), options, describe=describe)
        pulse = _Pulse(options, wish.form)
        for change_set in _sets(source, None if wish.follow else end, pulse.every):
            if change_set is not None:
                yield from encoder.encode_in_order(change_set)
                source.confirm(change_set.mark.resume)
            yield from pulse.beat()


class _Pulse:
    """Heartbeats of Debezium's form, as often as `heartbeat.interval.ms` says; 0: none, and ours has none."""

    def __init__(self, options: Options, form: Format) -> None:
        self._options = options
        self.every = options.heartbeat_interval_ms / 1000 if form != "bitvelocity" else 0.0
        self._next = time.monotonic() + self.every

    def beat(self) -> Iterator[pa.Table]:
        """One, when it is time. Like Debezium's timer it begins with the last one, not with the second."""
        if self.every and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.every
            yield heartbeat(self._options, Moment(time.time_ns()))


def _sets(source: WalSource, end: int | None, every: float) -> Iterator[ChangeSet | None]:
    """Change sets; None when some time has passed."""
    yield from source.snapshot()
    began = time.monotonic()
    while end is None or source.seen < end:
        pause = _PAUSE if time.monotonic() - began > 1 else 0.02
        yield from source.tail(min(pause, every) if every else pause)
        yield None


def _end(dsn: str) -> int:
    """Up to where the source has committed now."""
    with connect(dsn, autocommit=True) as connection:
        row = connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
    return int(row[0]) if row else 0


def _options(project: Project, wish: Telling) -> Options:
    options = options_for(wish.form, wish.options)
    if not wish.entities:
        return options
    specs = [(name, project.spec(name)) for name in wish.entities]
    for name, spec in specs:
        if spec is None:
            raise SettingsError(
                f"There is no entity {name!r}.",
                entity=name,
                safe="Nothing was read.",
                remedy=f"It is one of: {', '.join(spec.name for spec in project.specs)}.",
            )
    return replace(options, table_include_list=tuple(re.escape(spec.qualified) for _, spec in specs if spec))
