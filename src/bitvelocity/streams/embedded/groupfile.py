"""What the processes of a bus agree on: who reads which partition, what groups have committed, who publishes.

A member holds a lock on a file of its own for as long as it lives. The kernel lets go of it when the process dies, so that
others take over at once; a member that lives but does nothing is given up when its lease has run out.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bitvelocity.errors import FencedError
from bitvelocity.processes import locked
from bitvelocity.streams.bus import Partition
from bitvelocity.streams.groups import shared_out

from .sqlite import Database, make

SCRIPT = """
create table publisher (name text primary key, epoch integer not null) without rowid;
create table round (grp text primary key, number integer not null) without rowid;
create table member (grp text not null, id text not null, topics text not null, expires real not null,
  primary key (grp, id)) without rowid;
create table lease (grp text not null, topic text not null, partition integer not null, owner text,
  generation integer not null, primary key (grp, topic, partition)) without rowid;
create table committed (grp text not null, topic text not null, partition integer not null, next integer not null,
  primary key (grp, topic, partition)) without rowid;
"""


@dataclass(frozen=True, slots=True)
class Seat:
    """A member, as the others know it."""

    group: str
    id: str
    topics: Mapping[str, int]
    lease_s: float


class GroupFile:
    """The file `groups.db` of a bus, and the folder of its members' locks."""

    def __init__(self, folder: Path) -> None:
        self._locks = folder / "members"
        self._locks.mkdir(exist_ok=True)
        file = folder / "groups.db"
        if not file.exists():
            make(file, SCRIPT, {})
        self._database = Database(file, "groups")

    def next_epoch(self, publisher: str) -> int:
        """A number for a publisher that was just opened: all that have a lower one are fenced."""
        statement = """insert into publisher values (?, 1)
        on conflict (name) do update set epoch = epoch + 1 returning epoch"""
        with self._database.writing() as connection:
            return int(connection.execute(statement, [publisher]).fetchall()[0][0])

    def epoch(self, publisher: str) -> int:
        with self._database.bare() as connection:
            row = connection.execute("select epoch from publisher where name = ?", [publisher]).fetchone()
            return int(row[0]) if row else 0

    def committed(self, group: str, topic: str) -> dict[int, int]:
        statement = "select partition, next from committed where grp = ? and topic = ?"
        with self._database.bare() as connection:
            return {int(number): int(end) for number, end in connection.execute(statement, [group, topic])}

    def names(self) -> list[str]:
        """The groups that have committed something."""
        with self._database.bare() as connection:
            return [str(name) for (name,) in connection.execute("select distinct grp from committed order by grp")]

    def round(self, group: str) -> int:
        """Grows with every change of a group's members or leases."""
        with self._database.bare() as connection:
            row = connection.execute("select number from round where grp = ?", [group]).fetchone()
            return int(row[0]) if row else 0

    def sit(self, group: str, topics: Mapping[str, int], lease_s: float) -> tuple[Seat, Callable[[], None]]:
        """A seat in a group, and what gives it up again."""
        seat = Seat(group, uuid4().hex, topics, lease_s)
        path = self._locks / seat.id
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        locked(handle)

        def leave() -> None:
            with self._database.writing() as connection:
                _drop(connection, group, [seat.id])
            path.unlink(missing_ok=True)
            os.close(handle)

        return seat, leave

    def settle(self, seat: Seat, *, watch: bool) -> dict[Partition, int]:
        """Renew the seat, give back what others should have, take what is free; our partitions with their generations.

        `watch`: look after the other members too.
        """
        with self._database.writing() as connection:
            if watch:
                _drop(connection, seat.group, self._gone(connection, seat))
            renewed = (seat.group, seat.id, "\n".join(sorted(seat.topics)), time.monotonic() + seat.lease_s)
            known = connection.execute("select 1 from member where grp = ? and id = ?", [seat.group, seat.id]).fetchone()
            connection.execute("insert or replace into member values (?, ?, ?, ?)", renewed)
            changed = not known
            _declare(connection, seat)
            held = _leases(connection, seat.group)
            owners = {partition: owner for partition, (owner, _) in held.items()}
            wanted = shared_out(_members(connection, seat.group), owners)
            for partition, owner in owners.items():
                mine, due = owner == seat.id, wanted.get(partition) == seat.id
                if mine != due and (mine or owner is None):
                    _hand(connection, seat, partition, take=due)
                    changed = True
            if changed:
                _advance(connection, seat.group)
            return {p: generation for p, (owner, generation) in _leases(connection, seat.group).items() if owner == seat.id}

    def commit(self, seat: Seat, offsets: Mapping[Partition, int], generations: Mapping[Partition, int]) -> None:
        """All of the offsets, if every one of the partitions is still ours; else none."""
        with self._database.writing() as connection:
            held = _leases(connection, seat.group)
            for partition in offsets:
                if held.get(partition) != (seat.id, generations.get(partition)):
                    raise FencedError(
                        f"Partition {partition.number} belongs to another member of the group {seat.group!r} now.",
                        entity=partition.topic, position=f"partition {partition.number}, offset {offsets[partition]}",
                        safe="Nothing of this commit was written; the records come again to whoever has the partition.",
                        remedy="Drop what was fetched of it, and poll.",
                    )  # fmt: skip
            rows = [(seat.group, *partition, end) for partition, end in offsets.items()]
            connection.executemany("insert or replace into committed values (?, ?, ?, ?)", rows)

    def _gone(self, connection: sqlite3.Connection, seat: Seat) -> list[str]:
        """Members that died, and those whose lease has run out."""
        now = time.monotonic()
        rows = connection.execute("select id, expires from member where grp = ?", [seat.group]).fetchall()
        gone = [name for name, expires in rows if name != seat.id and (expires < now or not self._alive(name))]
        for name in gone:
            (self._locks / name).unlink(missing_ok=True)
        return gone

    def _alive(self, name: str) -> bool:
        try:
            handle = os.open(self._locks / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not locked(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        self._database.close()


def _drop(connection: sqlite3.Connection, group: str, gone: Sequence[str]) -> None:
    for name in gone:
        connection.execute("delete from member where grp = ? and id = ?", [group, name])
        connection.execute("update lease set owner = null where grp = ? and owner = ?", [group, name])
    if gone:
        _advance(connection, group)


def _advance(connection: sqlite3.Connection, group: str) -> None:
    statement = "insert into round values (?, 1) on conflict (grp) do update set number = number + 1"
    connection.execute(statement, [group])


def _declare(connection: sqlite3.Connection, seat: Seat) -> None:
    rows = [(seat.group, topic, number) for topic, count in seat.topics.items() for number in range(count)]
    connection.executemany("insert or ignore into lease values (?, ?, ?, null, 0)", rows)


def _members(connection: sqlite3.Connection, group: str) -> dict[str, set[str]]:
    rows = connection.execute("select id, topics from member where grp = ?", [group])
    return {name: set(topics.split("\n")) for name, topics in rows}


def _leases(connection: sqlite3.Connection, group: str) -> dict[Partition, tuple[str | None, int]]:
    rows = connection.execute("select topic, partition, owner, generation from lease where grp = ?", [group])
    return {Partition(topic, number): (owner, generation) for topic, number, owner, generation in rows}


def _hand(connection: sqlite3.Connection, seat: Seat, partition: Partition, *, take: bool) -> None:
    """Take a free partition, as its next generation, or let go of one."""
    change = "owner = ?, generation = generation + 1" if take else "owner = null"
    values = ([seat.id] if take else []) + [seat.group, *partition]
    connection.execute(f"update lease set {change} where grp = ? and topic = ? and partition = ?", values)
