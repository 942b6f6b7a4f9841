"""Appends of several threads, written in one transaction: the disk is waited for once."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import pyarrow as pa

from bitvelocity.streams.bus import Partition, Published

from .blobs import Piece
from .steps import At, Step
from .topicfile import TopicFile, Written
from .upkeep import look_after


@dataclass(slots=True)
class _Ticket:
    pieces: list[Piece]
    ends: dict[int, int] | None = None
    error: BaseException | None = None


class Appends:
    """The queue of those who append to one topic. Whoever finds nobody at work writes for all that wait."""

    def __init__(self, topic: TopicFile, at: At) -> None:
        self._topic, self._at = topic, at
        self._waiting: list[_Ticket] = []
        self._queue, self._work = Lock(), Lock()

    def append(self, records: pa.Table) -> Published:
        """Durable when it returns."""
        pieces = self._topic.cut(records)
        self._at(Step.CUT)
        if not pieces:
            return Published({}, 0)
        ticket = _Ticket(pieces)
        with self._queue:
            self._waiting.append(ticket)
        with self._work:
            if ticket.ends is None and ticket.error is None:
                with self._queue:
                    tickets, self._waiting = self._waiting, []
                self._write(tickets)
        if ticket.error:
            raise ticket.error
        ends = ticket.ends or {}
        return Published({Partition(self._topic.name, number): end for number, end in ends.items()}, records.num_rows)

    def _write(self, tickets: list[_Ticket]) -> None:
        try:
            with self._topic.database.writing() as connection:
                ends = [self._topic.write(connection, Written(ticket.pieces)) for ticket in tickets]
                self._at(Step.WRITTEN)
        except BaseException as error:
            for ticket in tickets:
                ticket.error = error
            raise
        self._at(Step.COMMITTED)
        look_after(self._topic, sum(len(piece.data) for ticket in tickets for piece in ticket.pieces))
        for ticket, its in zip(tickets, ends, strict=True):
            ticket.ends = its
