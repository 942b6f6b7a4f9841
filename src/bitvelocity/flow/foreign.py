"""Topics of a Debezium that is not ours, as the source of a lake."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace

import pyarrow as pa

from ..capture.debezium import Lane, State, new_changes, placed
from ..capture.snapshots import read_book
from ..changes import ChangeSet, MemoryChangeSet, Passing, Twin, format_lsn, pass_by, within
from ..errors import BusError, CaptureError, LakeError, OffsetGoneError, SettingsError
from ..files import replace_file
from ..lakehouse import Lake
from ..oltp import TrailSink
from ..streams import Bus, Partition
from ..streams.relay import Undecodable
from .buses import open_bus
from .parking import Parking, reading
from .project import Project
from .schemas import open_registry
from .upstream import NOTES, Plan, check_same, placed_at, read_plan, remedy_for, table_topics, topics_decoder
from .wires import registrar

STEP = 1 << 10
"""From one position to the next: dead letters that are given back stand between them."""
_PIECE, _ROWS = 20_000, 100_000
_SHORT_S, _PATIENCE_S, _PAUSE_S = 0.5, 30.0, 0.1
_KEPT = "Nothing was changed."


class DebeziumOrigin:
    """Change sets from the topics of a Debezium; a `changes.Source`, one set at a time: confirm it before the next.

    Exactly once. The lake has one number as its position, and topics have an offset for each partition. So each set gets a number of
    ours, and a plan says which offsets it consists of. The plan is on the disk before the set is seen; only one is under
    way. A lake that stands at the plan's number has it, and the next begins where it ends. A lake that stands before it
    is given the same records under the same number again, and each table drops what it has. No LSN of Debezium's
    could be that number: tables come on topics of their own, one far ahead of the other.

    A set is what was there when the topics were read: transactions over several tables may be parted, and are whole later.
    """

    def __init__(self, project: Project, lake: Lake, *, position: int, at: Passing = pass_by) -> None:
        self._prefix, self._sync = project.settings.capture.topics, project.settings.lake.sync
        self._notes, self._at = project.lake / NOTES, within(at, "debezium")
        self._keyed = {spec.qualified for spec in project.specs if spec.key}
        self._open = ExitStack()
        with ExitStack() as stack:
            self._bus: Bus = open_bus(project.settings)
            stack.callback(self._bus.close)
            wires = registrar(project.settings, stack.enter_context(open_registry(project.settings)))
            if not self._bus.abilities.replay:
                raise SettingsError(
                    "What was read from this transport cannot be read again, so a kill would lose it.",
                    remedy="Let Debezium write to another: [streams] bus",
                )
            self._open = stack.pop_all()
        decode = reading(topics_decoder(project, wires.look_up))
        self._parking = Parking(project.settings.streams, self._bus, decode, lake, placed=False)
        self._next: dict[Partition, int] = {}
        self._state: State = {}
        self._position, self._plan = position, read_plan(project)
        self._pending = self._plan
        self._take_up()

    @property
    def streamed(self) -> int:
        return 0

    @property
    def seen(self) -> int:
        """The last position that the sinks have."""
        return max(self._position, 0)

    def snapshot(self, twin: Twin | None = None) -> Iterator[ChangeSet]:
        """None: Debezium's own snapshot is the beginning of its topics."""
        if twin is not None:
            raise _refused("What was missed is found by asking the database.")
        return iter(())

    def tail(self, timeout: float) -> Iterator[ChangeSet]:
        """What is new on the topics, until nothing comes for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            if (found := self._again() if self._pending else self._read()) is not None:
                yield found
                if self._pending is not None:
                    raise CaptureError("A change set was not confirmed, and the next one was asked for.", code="Unconfirmed")
                deadline = time.monotonic() + timeout
            elif time.monotonic() >= deadline:
                return
            else:
                time.sleep(min(_PAUSE_S, max(0.0, deadline - time.monotonic())))

    def confirm(self, lsn: int) -> None:
        """All up to `lsn` is durable in the sinks."""
        if self._pending is not None and lsn >= self._pending.lsn:
            self._done(self._pending)
            self._pending = None

    def close(self) -> None:
        self._open.close()

    def _take_up(self) -> None:
        """Where the lake stands by its last plan."""
        plan = self._pending
        if plan is None:
            return
        if plan.lsn <= self._position < plan.lsn + STEP:
            self._pending = None
            self._done(plan)
        elif not plan.after <= self._position < max(plan.after, 0) + STEP:
            raise LakeError(
                f"The lake stands at {format_lsn(max(self._position, 0))}, and its notes of Debezium's topics are of {format_lsn(plan.lsn)}.",
                position=str(self._notes), safe=_KEPT,
                remedy="Restore the whole folder of the lake from one backup, or begin a new lake.",
            )  # fmt: skip

    def _done(self, plan: Plan) -> None:
        self._position, self._state = plan.lsn, plan.seen
        self._next = placed_at(plan.ends)

    def _read(self) -> ChangeSet | None:
        """What is there now; only repeats are passed over without a set."""
        begins = dict(self._next)
        records = self._records(begins)
        if not records:
            return None
        ends = begins | {partition: _behind(table) for partition, table in records.items()}
        lanes, parked = self._lanes(records)
        found, state = new_changes(lanes, self._state, self._keyed)
        lsn = max(self._position, 0) + STEP
        batches, mark = placed(found, lsn, resume=lsn + STEP - 1)
        if not batches and not parked:
            self._pass_over(ends, state)
            return None
        plan = Plan(lsn, self._position, _listed(begins), _listed(ends), _count(records), self._state, state)
        self._at("set read")
        self._note(plan)
        self._pending = plan
        self._at("plan noted")
        return MemoryChangeSet(batches, mark)

    def _pass_over(self, ends: dict[Partition, int], state: State) -> None:
        """Repeats only: they belong to the last position, and are not read again."""
        self._next, self._state = ends, state
        if self._plan is not None:
            self._note(replace(self._plan, ends=_listed(ends), seen=state))

    def _note(self, plan: Plan) -> None:
        self._plan = plan
        replace_file(self._notes, json.dumps(asdict(plan)), sync=self._sync)

    def _records(self, begins: dict[Partition, int]) -> Mapping[Partition, pa.Table]:
        """New records of all topics up to a bound. Offsets of partitions that are new are put into `begins`."""
        found: dict[Partition, pa.Table] = {}
        left = _ROWS
        for topic in table_topics(self._bus, self._prefix):
            for number, span in self._bus.spans(topic).items():
                partition = Partition(topic, number)
                begin = begins.setdefault(partition, span.first)
                check_same(partition, span, begin)
                if span.end <= begin or left <= 0:
                    continue
                table = self._bus.read(partition, begin, limit=min(_PIECE, left), timeout=_SHORT_S)
                left -= table.num_rows
                if table.num_rows:
                    found[partition] = table
        return found

    def _again(self) -> ChangeSet:
        """The set of the plan, from the same records."""
        plan = self._pending
        assert plan is not None
        begins, ranges = placed_at(plan.begins), placed_at(plan.ends)
        records = {each: self._range(each, begins[each], end) for each, end in ranges.items() if end > begins[each]}
        if (count := _count(records)) != plan.records:
            raise _gone(f"The topics hold {count} records of a set that had {plan.records} when it was first read.", plan)
        found, _ = new_changes(self._lanes(records)[0], plan.before, self._keyed)
        return MemoryChangeSet(*placed(found, plan.lsn, resume=plan.lsn + STEP - 1))

    def _range(self, partition: Partition, begin: int, end: int) -> pa.Table:
        pieces: list[pa.Table] = []
        while begin < end:
            piece = self._bus.read(partition, begin, limit=end - begin, timeout=_PATIENCE_S)
            if not piece.num_rows:
                raise OffsetGoneError(
                    f"Partition {partition.number} does not give offset {begin} any more, which it gave before.",
                    entity=partition.topic, safe="The lake is whole as of its position.", remedy="Begin a new lake.",
                )  # fmt: skip
            begin = _behind(piece)
            pieces.append(piece)
        table = pa.concat_tables(pieces)
        return table.filter(pa.array(table["offset"].to_numpy() < end))

    def _lanes(self, records: Mapping[Partition, pa.Table]) -> tuple[list[Lane], bool]:
        """What can be read, by lane, and whether something was set apart."""
        lanes, parked = list[Lane](), False
        for partition, table in records.items():
            batches, refused = self._parking.decode(partition.topic, table)
            if refused is not None:
                self._set_apart(partition, refused)
                parked = True
            lanes.append(Lane(f"{partition.topic}/{partition.number}", batches))
        return lanes, parked

    def _set_apart(self, partition: Partition, refused: Undecodable) -> None:
        """With the set's own commit; or the lake stops before it."""
        row = next((row for row, code in enumerate(refused.codes) if not self._parking.takes(code)), None)
        if row is not None:
            code = refused.codes[row]
            raise BusError(
                f"{refused.records.num_rows} records cannot be taken: {refused.reasons[row]}",
                entity=partition.topic, position=f"partition {partition.number}, offset {refused.records['offset'][row]}", code=code,
                safe="Nothing of the set was taken.", remedy=remedy_for(code),
            )  # fmt: skip
        self._parking.refuse(refused)


def check_filled_by(project: Project, position: int) -> None:
    """One lake has one kind of source: positions of the two do not compare."""
    by_topics = (project.lake / NOTES).exists()
    if project.settings.capture.source == "postgres":
        if by_topics:
            raise CaptureError(
                "This lake was filled from Debezium's topics, and cannot go on from a database.", safe=_KEPT,
                remedy='Set [capture] source = "debezium" again; or name a new lake.', code="SourceForeign",
            )  # fmt: skip
        return
    if not by_topics and (position >= 0 or read_book(project.lake).first is not None):
        raise CaptureError(
            "This lake was filled from a database, and cannot go on from Debezium's topics.", safe=_KEPT,
            remedy='Set [capture] source = "postgres" again; or name a new lake.', code="SourceForeign",
        )  # fmt: skip
    if project.settings.streams.route == "bus":
        raise SettingsError(
            '[streams] route = "bus" is for changes that we capture; Debezium has put these on topics already.',
            remedy='Write route = "direct".',
        )
    if project.settings.routes:
        raise _refused("[[routes]] ask the database what their columns are.")
    if TrailSink(project.specs).specs:
        raise _refused("Audit trails are written to the database.")


def check_database(project: Project, what: str) -> None:
    """Refuse what asks the database at the lake's position, or reads it beside the stream."""
    if project.settings.capture.source != "postgres":
        raise _refused(what)


def _refused(what: str) -> CaptureError:
    return CaptureError(
        f"{what} That cannot be done where Debezium's topics are the source.", safe=_KEPT,
        remedy='Do it on the side of Debezium; or let BitVelocity capture: [capture] source = "postgres", and a new lake.',
        code="NotWithDebezium",
    )  # fmt: skip


def _gone(what: str, plan: Plan) -> BusError:
    return BusError(
        what, position=format_lsn(plan.lsn), safe="The lake is whole as of its position.",
        remedy="Records were deleted from the topics in between: begin a new lake.",
    )  # fmt: skip


def _count(records: Mapping[Partition, pa.Table]) -> int:
    return sum(table.num_rows for table in records.values())


def _behind(table: pa.Table) -> int:
    return int(table["offset"][-1].as_py()) + 1


def _listed(offsets: Mapping[Partition, int]) -> list[tuple[str, int, int]]:
    return [(topic, number, offset) for (topic, number), offset in sorted(offsets.items())]


__all__ = ["NOTES", "DebeziumOrigin", "check_database", "check_filled_by"]
