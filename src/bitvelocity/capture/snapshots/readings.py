"""All readings beside one stream: orders are taken, runs are done one after the other, the book is kept."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitvelocity.changes import Batch, ChangeSet, Passing, Unsent, pass_by

from ..failures import Place
from ..identity import Identity
from .book import Book, Order, changed, means, orders, read_book, write_book
from .live import LiveRun, Unknown
from .reading import ChunkReader
from .runs import Kind, Run


@dataclass(frozen=True, slots=True)
class Readable:
    """A table as readings know it: its name in the source, and the key's columns."""

    relation: str
    key: tuple[str, ...]


class Readings:
    """The readings beside one pipeline's stream. Not for use from several threads.

    - `connect` after the stream's own connection was made: what was in flight is read again.
    - `tend` often: it takes orders, and what the worker has finished. It never waits.
    - `through` every change set on its way to the sinks; `committed` when they have it.

    Crashes: the book names the ranges whose rows are durable. Whatever else was read is read again, later in the
    stream, so it only says once more what a row is.
    """

    def __init__(
        self,
        lake: Path,
        tables: Mapping[str, Readable],
        *,
        unknown: Unknown = lambda _: (),
        sync: bool = True,
        at: Passing = pass_by,
    ) -> None:
        self._lake, self._tables, self._unknown, self._sync = lake, dict(tables), unknown, sync
        self._at = at
        self._book = read_book(lake)
        self._workers = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._reader: tuple[str, Place] | None = None
        self._aside = False
        self._live: LiveRun | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs that are remembered, oldest first."""
        return self._book.runs

    @property
    def first(self) -> dict[str, Any] | None:
        """Where a first snapshot stands that is not at its end."""
        return self._book.first

    @property
    def hidden(self) -> frozenset[str]:
        """Entities that are new and not read to their end: readers must not see their state yet, only what happened."""
        return frozenset(run.entity for run in self.runs if run.kind == "joins" and run.state != "done")

    @property
    def holds(self) -> bool:
        """What a first snapshot left over is not read to its end: readers must not see anything yet."""
        return any(run.kind == "first" and run.state != "done" for run in self.runs)

    def connect(self, dsn: str, *, slot: str, publication: str, aside: bool = False) -> None:
        """Read from `dsn` from now on; `aside`: it is not the stream's server, but the primary that this follows."""
        self._drop()
        self._reader, self._aside = (dsn, Place(slot, publication)), aside

    def ask(self, entity: str, kind: Kind = "again", **facts: Any) -> None:
        """Remember that an entity is to be read; durable when this returns."""
        self._note(self._new(entity, kind, **facts))

    def ask_relation(self, relation: str, kind: Kind, **facts: Any) -> None:
        """The same by the name of a table; one that is no entity's is nobody's business."""
        for entity, table in self._tables.items():
            if table.relation == relation:
                self.ask(entity, kind, **facts)

    def heal(self, due: Sequence[Unsent], held: Sequence[Unsent], *, up_to: int) -> None:
        """Ask for what is `due` unless it is being read, keep what is `held` in mind; durable when this returns."""
        runs = self.runs
        for unsent in due:
            if any(run.entity == unsent.entity and run.covers(unsent) for run in runs):
                continue
            columns = () if unsent.whole else tuple(unsent.columns)
            run = self._new(unsent.entity, "altered", columns=columns, sure=unsent.sure)
            runs = changed(runs, run)
        self._write(replace(self._book, runs=runs, held=tuple(held), altered_to=max(up_to, self._book.altered_to)))

    @property
    def held(self) -> tuple[Unsent, ...]:
        """What ALTERs wrote and nobody reads yet."""
        return self._book.held

    @property
    def altered_to(self) -> int:
        """Up to this position of the lake what ALTERs wrote was taken up."""
        return self._book.altered_to

    @property
    def recovering(self) -> bool:
        """A recovery has begun and is not at its end."""
        return self._book.recovering

    def tell_recovering(self, *, recovering: bool) -> None:
        """Remember that a recovery begins, or that it is at its end; durable when this returns."""
        self._write(replace(self._book, recovering=recovering))

    @property
    def source(self) -> tuple[str, int] | None:
        """Cluster and timeline that the stream came from last; None while a recovery takes it from whatever is there."""
        return None if self.recovering else self._book.source

    def tell_source(self, identity: Identity) -> None:
        """Remember which server the stream comes from."""
        self._write(replace(self._book, source=(identity.system, identity.timeline)))

    def tell_first(self, first: dict[str, Any] | None) -> None:
        """Remember where the first snapshot stands (None: it is at its end)."""
        self._write(replace(self._book, first=first))

    def give_up_first(self) -> None:
        """The first snapshot begins anew."""
        self._drop()
        self._write(replace(self._book, first=None, runs=tuple(run for run in self.runs if run.kind != "first")))

    def tend(self) -> None:
        """Go on with what is to be done."""
        self._obey()
        if self._live is None:
            self._take_up()
        if (live := self._live) is not None:
            before = live.run
            live.tend()
            if live.run is not before:
                self._note(live.run)
            if not live.run.open:
                self._drop()

    def through(self, change_set: ChangeSet) -> Iterator[Batch]:
        """The set's batches, with what was read beside the stream in its places."""
        return iter(change_set) if self._live is None else self._live.through(change_set)

    def committed(self) -> None:
        """All that `through` gave is durable."""
        if self._live is not None and self._live.committed():
            self._note(self._live.run)

    def close(self) -> None:
        """Stop. What is in flight is read again another time."""
        self._drop()
        self._workers.shutdown(wait=True, cancel_futures=False)

    def _take_up(self) -> None:
        run = next((run for run in self.runs if run.open and run.state != "paused"), None)
        if run is None or self._reader is None:
            return
        if (table := self._tables.get(run.entity)) is None:
            self._note(run.ended("failed", time.time(), "The project does not declare this entity any more."))
            return
        reader = ChunkReader(*self._reader, at=self._at, aside=self._aside)
        self._live = LiveRun(run, table.key, reader=reader, workers=self._workers, unknown=self._unknown)

    def _drop(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None

    def _obey(self) -> None:
        for file, order in orders(self._lake):
            self._carry_out(order)
            self._at("order carried out")
            file.unlink(missing_ok=True)

    def _carry_out(self, order: Order) -> None:
        """A second start of what is under way, or a word about nothing, changes nothing: orders may come twice."""
        meant = [run for run in reversed(self.runs) if run.entity == order.entity and means(order, run)]
        if order.verb == "stop":  # what is under way, before what failed
            meant.sort(key=lambda run: not run.open)
        run = meant[0] if meant else None
        if order.verb == "start":
            if run is None and order.entity in self._tables:
                self.ask(order.entity, where=order.where)
            return
        if run is None:
            return
        if self._live is not None and self._live.run.id == run.id:
            self._drop()
        match order.verb:
            case "pause":
                self._note(replace(run, state="paused", waits_for=()))
            case "resume":
                self._note(replace(run, state="reading" if run.parts else "asked", ended_at=None, error=None))
            case "stop":
                self._note(run.ended("stopped", time.time()))

    def _new(self, entity: str, kind: Kind, **facts: Any) -> Run:
        relation = self._tables[entity].relation
        return Run(id=uuid.uuid4().hex[:12], entity=entity, relation=relation, kind=kind, asked_at=time.time(), **facts)

    def _note(self, run: Run) -> None:
        held = self._book.held
        if run.state == "done" and run.where is None and not run.columns:
            held = tuple(each for each in held if each.entity != run.entity or each.noted_at > run.asked_at)
        self._write(replace(self._book, runs=changed(self._book.runs, run), held=held))

    def _write(self, book: Book) -> None:
        if book != self._book:
            write_book(self._lake, book, sync=self._sync)
            self._book = book
            self._at("book written")
