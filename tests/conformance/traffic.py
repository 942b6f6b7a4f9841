"""A publisher, a reader by offset and a member of a group at work, while something happens to their servers.

The publisher begins again after each error, as the route does; what was read must be, in the end, each number once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pyarrow as pa

from bitvelocity.errors import BusError, BusLostError, FencedError
from bitvelocity.streams import Bus, Fetched, Member, Partition, Publisher

from .buses import PATIENCE_S, assert_once, assert_ordered, placed, whole

ROWS = 200
"""Records of one call."""


@dataclass
class Pace:
    """How far a worker is, and the longest time that it stood still."""

    rows: int = 0
    longest: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    moved: float = field(default_factory=time.monotonic)

    def went(self, rows: int) -> None:
        if rows:
            now = time.monotonic()
            self.rows, self.longest, self.moved = self.rows + rows, max(self.longest, now - self.moved), now

    def failed(self, error: BusError) -> None:
        """What passes by is noted; anything else ends the worker."""
        if not isinstance(error, BusLostError | FencedError):
            raise error
        kind = str(error).partition(". ")[0][-120:]
        self.errors[kind] = self.errors.get(kind, 0) + 1


class Traffic:
    """Workers on one topic of several partitions, until `stop`."""

    def __init__(self, connect: Callable[[], Bus], topic: str) -> None:
        self._connect, self._topic = connect, topic
        self._buses = {name: connect() for name in ("writer", "reader", "member")}
        self.paces: Mapping[str, Pace] = {name: Pace() for name in self._buses}
        self._read: list[pa.Table] = []
        self._polled: list[Fetched] = []
        self._written = 0
        self._given_up = False
        self._ended, self._failures = threading.Event(), list[BaseException]()
        works: Mapping[str, Callable[[Bus, Pace], None]] = {"writer": self._write, "reader": self._read_on, "member": self._poll}
        self._threads = [threading.Thread(target=self._run, args=(name, work)) for name, work in works.items()]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Work until this is left."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        except BaseException:
            self._given_up = True
            raise
        finally:
            self._stop()
        assert not self._failures, self._failures

    def bus(self, worker: str) -> Bus:
        return self._buses[worker]

    def goes_on(self, rows: int = 2_000) -> float:
        """Wait until all workers have done so many more; the seconds that it took."""
        before, began = {name: pace.rows for name, pace in self.paces.items()}, time.monotonic()
        while any(pace.rows < before[name] + rows for name, pace in self.paces.items()):
            assert not self._failures, self._failures
            stands = {name: pace.rows - before[name] for name, pace in self.paces.items()}
            assert time.monotonic() < began + PATIENCE_S, f"after {PATIENCE_S:.0f} s: {stands}, {self.paces}"
            time.sleep(0.02)
        return time.monotonic() - began

    def _stop(self) -> None:
        """The writer first; the others when they have all."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for bus in self._buses.values():
            bus.close()

    def check(self, bus: Bus) -> int:
        """Nothing lost, nothing doubled, each key in order: in the topic, and with each reader. How many there were."""
        expected = range(1, self._written + 1)
        got = whole(bus, self._topic, self._written)
        assert_once(got, expected)
        assert_ordered(got)
        read = pa.concat_tables(self._read)
        assert_once(read, expected)
        assert_ordered(read)
        polled = pa.concat_tables([one.records for one in self._polled])
        offsets = {(one["partition"], one["offset"]) for one in polled.select(["partition", "offset"]).to_pylist()}
        assert len(offsets) == self._written, f"the member was given {len(offsets)} of {self._written}"
        return self._written

    def _run(self, name: str, work: Callable[[Bus, Pace], None]) -> None:
        try:
            work(self._buses[name], self.paces[name])
        except BaseException as error:
            self._failures.append(error)
            self._given_up = True
            self._ended.set()

    def _write(self, bus: Bus, pace: Pace) -> None:
        name = uuid4().hex
        publisher: Publisher | None = None
        batch = placed(1, 1 + ROWS)
        while not self._ended.is_set() or (publisher is None and not self._given_up):
            try:
                publisher = publisher or bus.publisher(name)
                publisher.publish({self._topic: batch})
            except BusError as error:
                pace.failed(error)
                if publisher is not None:
                    publisher.close()
                publisher = None
                continue
            self._written += ROWS
            pace.went(ROWS)
            batch = placed(self._written + 1, self._written + 1 + ROWS)
        if publisher is not None:
            publisher.close()

    def _has_all(self, pace: Pace) -> bool:
        writes = not self._ended.is_set() or self._threads[0].is_alive()
        return self._given_up or (not writes and pace.rows >= self._written)

    def _read_on(self, bus: Bus, pace: Pace) -> None:
        at = dict.fromkeys(bus.spans(self._topic), 0)
        while not self._has_all(pace):
            for number, offset in at.items():
                try:
                    found = bus.read(Partition(self._topic, number), offset, timeout=0.1)
                except BusError as error:
                    pace.failed(error)
                    continue
                if found.num_rows:
                    self._read.append(found)
                    at[number] = int(found["offset"][-1].as_py()) + 1
                    pace.went(found.num_rows)

    def _poll(self, bus: Bus, pace: Pace) -> None:
        member: Member | None = None
        while not self._has_all(pace):
            try:
                member = member or bus.member("crew", [self._topic])
                fetched = member.poll(0.1)
                self._polled += fetched
                pace.went(sum(one.records.num_rows for one in fetched))
                if fetched:
                    member.commit({one.partition: one.next for one in fetched})
            except BusError as error:
                pace.failed(error)
        if member is not None:
            member.close()
