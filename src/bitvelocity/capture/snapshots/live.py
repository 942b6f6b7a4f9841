"""One table read in chunks while the stream runs, each chunk put into the stream where it belongs.

A chunk is read under a snapshot of the source that says which transactions it sees, and is followed by a mark in the
WAL. When the stream comes to the mark, those rows of the chunk are dropped whose keys were changed by a transaction
that the snapshot does not see; the others stand in the stream as reads (`r`) at the mark's own position, which no
other row has. So a row is never older than what stood before it, and no later change is ever undone.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from bitvelocity.changes import AFTER, MESSAGES, Batch, ChangeSet
from bitvelocity.errors import CaptureError

from .changed import ChangedKeys
from .printed import At, Printed
from .ranges import Part, Range, halved
from .reading import WATERMARK, Chunk, ChunkReader, Keys, Moved, Planned, TooWide, Wanted
from .runs import Run
from .visible import Visible

AHEAD = 2
"""Chunks that are read and wait for their mark to come."""
POLL_SECONDS = 0.2
BUSY_SECONDS = 5.0
ROUNDS = 20
"""How often single keys are read again before they are left as they are."""
LOCKED = "CaptureError:55P03"

Unknown = Callable[[str], Keys]
"""Keys of an entity with values that nobody knows (unchanged TOAST of rows that were never read whole)."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a message stands in the stream."""

    lsn: int
    name: str
    time: int


class LiveRun:
    """A run that is under way in this process. It begins afresh, at what the book says, with each connection."""

    def __init__(
        self, run: Run, key: Sequence[str], *, reader: ChunkReader, workers: Executor, unknown: Unknown
    ) -> None:
        self.run = run
        self._key, self._reader, self._workers, self._unknown = tuple(key), reader, workers, unknown
        self._wanted = Wanted(run.relation, run.where, run.columns, run.sure)
        self._changed = ChangedKeys(key)
        self._began: int | None = None
        self._may_read = False
        self._ahead: tuple[Part, ...] | None = run.parts
        self._job: Future[Any] | None = None
        self._then: Callable[[Any], None] = lambda _: None
        self._not_before = 0.0
        self._chunks: deque[Chunk] = deque()
        self._woven: list[tuple[Chunk, int, int]] = []

    def tend(self) -> None:
        """Take what the worker has finished, and give it what is next. Does not wait for either."""
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            self._take(job)
        if self._job is None and self.run.open and time.monotonic() >= self._not_before:
            self._give()

    def through(self, change_set: ChangeSet) -> Iterator[Batch]:
        """The batches of a set, the rows of chunks among them in their places."""
        self._settle()
        awaited = any(chunk.message <= change_set.mark.lsn for chunk in self._chunks)
        held: list[Batch] = []
        marks: list[_Mark] = []
        for batch in change_set:
            if batch.relation == MESSAGES:
                marks += _marks(batch)
            if batch.relation != self.run.relation:
                yield batch
            elif awaited:
                held.append(batch)
            else:
                self._changed.note(batch)
                yield batch
        yield from self._weave(held, marks)

    def _settle(self) -> None:
        """A mark may be in the stream already while its chunk is with the worker yet: that is only a moment."""
        if self._job is not None and self._reader.marking.is_set():
            job, self._job = self._job, None
            self._take(job)

    def committed(self) -> bool:
        """All that `through` gave is durable. Whether that changed the run."""
        woven, self._woven = self._woven, []
        for chunk, rows, read in woven:
            run = self.run
            if isinstance(chunk.what, Range) and run.parts is not None and _follows(run.parts, chunk.what):
                at = chunk.what.part
                parts = (*run.parts[:at], run.parts[at].past(chunk.what), *run.parts[at + 1 :])
                run = replace(run, parts=parts)
            self.run = replace(run, rows=run.rows + rows, outdated=run.outdated + read - rows)
        return bool(woven)

    def close(self) -> None:
        """Forget what is in flight."""
        self._workers.submit(self._reader.close)

    def _give(self) -> None:
        if self._began is None:
            self._submit(self._reader.begin, self._begin)
        elif not self._may_read:
            self._not_before = time.monotonic() + POLL_SECONDS
            self._submit(self._reader.now, self._see_whether_ended)
        elif self._ahead is None:
            self._submit(lambda: self._reader.plan(self._wanted), self._planned)
        elif len(self._chunks) < AHEAD:
            self._read_on(self._ahead)

    def _submit(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._job, self._then = self._workers.submit(work), then

    def _take(self, job: Future[Any]) -> None:
        try:
            result = job.result()
            self._reader.marking.clear()
        except Moved:
            self._chunks.clear()
            self._ahead, self.run = None, replace(self.run, parts=None)
        except CaptureError as error:
            if error.retry == "itself" and not self._reader.aside:
                raise
            if error.retry != "itself" and error.code != LOCKED:  # else somebody has the table to himself: later
                self.run = self.run.ended("failed", time.time(), str(error))
            self._not_before = time.monotonic() + BUSY_SECONDS
        else:
            self._then(result)

    def _begin(self, xid: int) -> None:
        """What was running before we took note of changes must end: its changes may have passed already."""
        self._began = xid
        self.run = replace(self.run, state="waiting")

    def _see_whether_ended(self, now: Visible) -> None:
        assert self._began is not None
        left = now.before(self._began)
        if left:
            self.run = replace(self.run, waits_for=left)
            return
        self._may_read = True
        self._changed.see(now)
        self.run = replace(self.run, state="reading", waits_for=())

    def _planned(self, planned: Planned) -> None:
        self._ahead = planned.parts
        self.run = replace(self.run, parts=planned.parts, look=planned.look)

    def _read_on(self, parts: tuple[Part, ...]) -> None:
        at = next((number for number, part in enumerate(parts) if not part.done), None)
        if at is not None:
            what = parts[at].range(at, parts[at].next)
            name = uuid.uuid4().hex
            self._submit(lambda: self._read(parts, what, name), lambda chunk: self._was_read(parts, what, chunk))
        elif not self._chunks:
            self._finish()

    def _read(self, parts: tuple[Part, ...], what: Range, name: str) -> Chunk | None:
        try:
            return self._reader.read(self._wanted, parts, what, name)
        except TooWide:
            return None

    def _was_read(self, parts: tuple[Part, ...], what: Range, chunk: Chunk | None) -> None:
        if chunk is None:
            self._ahead = halved(parts, what.part)
            return
        self._ahead = (*parts[: what.part], parts[what.part].past(what), *parts[what.part + 1 :])
        self._chunks.append(chunk)

    def _finish(self) -> None:
        """All ranges are in. Rows that only updates told of, without their large values, are read by their keys."""
        keys = self._unknown(self.run.entity) if self.run.again < ROUNDS else ()
        if not keys:
            self.run = self.run.ended("done", time.time())
            return
        self.run = replace(self.run, again=self.run.again + 1)
        name = uuid.uuid4().hex
        self._submit(lambda: self._reader.read_keys(self._wanted, self._key, keys, name), self._chunks.append)

    def _weave(self, held: list[Batch], marks: list[_Mark]) -> Iterator[Batch]:
        for mark in sorted(marks, key=lambda mark: mark.lsn):
            if not any(chunk.name == mark.name for chunk in self._chunks):
                continue  # of a process that is no more, or another slot's reader
            chunk = self._chunks.popleft()
            before, held = _split(held, mark.lsn)
            for batch in before:
                self._changed.note(batch)
                yield batch
            yield from self._rows(chunk, mark)
            self._changed.see(chunk.visible)
        for batch in held:
            self._changed.note(batch)
            yield batch

    def _rows(self, chunk: Chunk, mark: _Mark) -> Iterator[Batch]:
        kept = read = 0
        for piece in chunk.pieces:
            batch = self._fresh(piece, chunk.visible, At(mark.lsn, read, mark.time))
            read += piece.rows
            kept += batch.data.num_rows
            if batch.data.num_rows:
                yield batch
        self._woven.append((chunk, kept, read))

    def _fresh(self, piece: Printed, visible: Visible, at: At) -> Batch:
        batch = piece.batch(at)
        mask = self._changed.fresh(piece.columns, visible)
        if mask is None:
            return batch
        rows = pl.from_arrow(batch.data)
        assert isinstance(rows, pl.DataFrame)
        return replace(batch, data=rows.filter(mask).to_arrow(compat_level=pl.CompatLevel.newest()))


def _follows(parts: Sequence[Part], what: Range) -> bool:
    return what.part < len(parts) and parts[what.part].next == what.first


def _marks(batch: Batch) -> Iterator[_Mark]:
    rows = batch.data.select(["_lsn", "_committed_at", f"{AFTER}prefix", f"{AFTER}content"]).to_pylist()
    for row in rows:
        if row[f"{AFTER}prefix"] == WATERMARK:
            said = json.loads(bytes.fromhex(row[f"{AFTER}content"][2:]))
            stamp = row["_committed_at"]
            yield _Mark(row["_lsn"], str(said.get("chunk")), round(stamp.timestamp() * 1_000_000) if stamp else 0)


def _split(batches: list[Batch], lsn: int) -> tuple[list[Batch], list[Batch]]:
    """The rows below a commit, and those above it."""
    below, above = [], []
    for batch in batches:
        cut = int(np.searchsorted(batch.data["_lsn"].to_numpy(), lsn))
        if cut:
            below.append(replace(batch, data=batch.data.slice(0, cut)))
        if cut < batch.data.num_rows:
            above.append(replace(batch, data=batch.data.slice(cut)))
    return below, above
