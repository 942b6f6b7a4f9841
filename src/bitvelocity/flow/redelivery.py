"""Dead letters that people give back or give up: orders from any process, carried out by the one that has the lake.

What is given back stands at a position of its own: one above the lake's, where no commit of the source can stand, since
a commit takes more than one byte of WAL. The plan that names the position and the letters is on disk before anything is
staged, and goes when all of it was published: broken off anywhere, the next start does the same again before it takes anything
else, and each table drops what it has.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..capture.debezium import ROW, SEQUENCE
from ..changes import Batch, Mark, Passing, pass_by
from ..errors import BusError
from ..files import replace_file, sync_path
from ..lakehouse import FOLLOWS, LETTER_NAME, Known, Lake, Watermark, among
from .lettering import FOREIGN, LASTING, places_in, records_of
from .parking import apart, fitting
from .project import Project

ORDERS, PLAN = ".dead-letters", "plan.json"
Verb = Literal["replay", "drop"]
Mask = npt.NDArray[np.bool_]
AT_ONCE = 20_000
"""Letters that are read, decoded and given back together."""
_EXPIRE_S, _HOUR_US = 3600.0, 3_600_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is being carried out: these letters, at that position."""

    verb: Verb
    position: int
    letters: pa.Table
    """Their names."""
    order: str
    """The order that it carries out, which is done with it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order. Empty means all."""

    verb: Verb
    topic: str = ""
    key: str = ""


def key_text(key: bytes | None) -> str:
    """A key as people name it: hexadecimal digits, after `0x`."""
    return "" if key is None else "0x" + key.hex()


class Redelivery:
    """Carries orders out, between two sets of the source. `decode` gives a fresh decoder."""

    def __init__(self, project: Project, lake: Lake, decode: Callable[[str, pa.Table], Any], *, at: Passing = pass_by) -> None:
        self._folder, self._lake, self._at = project.lake / ORDERS, lake, at
        rules = project.settings.streams.contract == "rules"
        placed = project.settings.capture.source == "postgres"
        self._keep, self._look_at = project.settings.streams.dead_letters_hours * _HOUR_US, 0.0
        self._decode = fitting(decode, lambda batch: lake.misfits(batch, rules=rules, tried=True), placed=placed)

    def next(self, last: Watermark) -> Plan | None:
        """The plan that was broken off, else one for the oldest order; None when nothing is to be done."""
        if (plan := self._next(last)) is None:
            self._expire()
            return None
        self._lake.letters.expire(None)  # its letters are named in it, and asked for again until it is done
        if plan.order:
            (self._folder / plan.order).unlink(missing_ok=True)  # it must not outlive its plan: it would mean letters that came later
        self._at("order taken")
        return plan

    def _next(self, last: Watermark) -> Plan | None:
        if (self._folder / PLAN).exists():
            return self._planned()
        if last.position + 1 >= max(last.resume, last.seen):
            return None  # the source's next commit might stand there: it waits for a sign of the source
        if last.position < self._lake.horizon:
            return None  # some tables are further, and would take what comes below for a repeat
        for file in sorted(self._folder.glob("[0-9]*.json")):
            wanted = Wanted(**json.loads(file.read_bytes()))
            chosen = self._letters(wanted) if wanted.verb == "drop" else self._readable(self._letters(wanted))
            if chosen.num_rows:
                return self._plan(Plan(wanted.verb, last.position + 1, chosen.select(LETTER_NAME.names), file.name))
            file.unlink()
        return None

    def _expire(self) -> None:
        """What ended long ago goes with the next commit; looked for once an hour."""
        if self._keep and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _EXPIRE_S
            self._lake.letters.expire(time.time_ns() // 1000 - self._keep)

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """The changes of a plan, at its position, in their order."""
        if plan.verb == "drop":
            return
        ordinal = 0
        heads = self._heads(lambda piece: among(piece, plan.letters), places=True)
        for topic, part in _by_topic(heads, ("lsn", "ordinal", "step", "offset")):
            batches, refused = self._decode(topic, records_of(self._lake.letters.fetch(part)))
            if refused is not None:
                raise BusError(
                    f"A record that could be read cannot be read any more: {refused.reasons[0]}", entity=topic,
                    code=refused.codes[0], safe="It is parked yet.", remedy="Mend what the reason names, then start again.",
                )  # fmt: skip
            for batch in batches:
                yield _moved(batch, plan.position, ordinal)
                ordinal += batch.data.num_rows

    def mark(self, plan: Plan, last: Watermark) -> Mark:
        """The boundary of a plan. The letters' new state is committed with it."""
        self._lake.letters.end(plan.letters, "dropped" if plan.verb == "drop" else "replayed")
        return replace(Mark(plan.position, max(last.resume, last.seen), last.committed_at), rows=plan.letters.num_rows)

    def done(self) -> None:
        """It was published."""
        (self._folder / PLAN).unlink(missing_ok=True)
        for file in self._folder.glob("*.arrow"):
            file.unlink()
        self._at("done")

    def _plan(self, plan: Plan) -> Plan:
        """The names first, in a file of their own: there may be very many."""
        names = self._folder / f"{Path(plan.order).stem}.arrow"
        with pa.OSFile(str(names), "wb") as file, pa.ipc.new_file(file, LETTER_NAME) as writer:
            writer.write_table(plan.letters.cast(LETTER_NAME))
        sync_path(names)
        told = {"verb": plan.verb, "position": plan.position, "letters": names.name, "order": plan.order}
        replace_file(self._folder / PLAN, json.dumps(told), sync=True)
        self._at("planned")
        return plan

    def _planned(self) -> Plan:
        told = json.loads((self._folder / PLAN).read_bytes())
        named = told["letters"]
        if isinstance(named, str):
            with pa.OSFile(str(self._folder / named), "rb") as file:
                names = pa.ipc.open_file(file).read_all()
        else:  # it was planned by a version that wrote them here
            names = pa.Table.from_pylist([dict(zip(LETTER_NAME.names, one, strict=True)) for one in named], schema=LETTER_NAME)
        return Plan(told["verb"], told["position"], names, told.get("order", ""))

    def _letters(self, wanted: Wanted) -> pa.Table:
        """Those that an order means, without their content."""

        def wants(piece: pa.Table) -> Mask:
            given_up = wanted.verb == "drop" and np.asarray(pc.equal(piece["code"], pa.scalar(FOLLOWS)))
            kept = wanted.verb == "replay" and np.asarray(pc.equal(piece["code"], pa.scalar(FOREIGN)))
            parked: Mask = np.asarray(pc.equal(piece["state"], pa.scalar("parked")))
            found: Mask = meant(piece, wanted.topic, wanted.key) & parked & ~np.asarray(given_up | kept)
            return found

        return self._heads(wants)

    def _heads(self, chosen: Callable[[pa.Table], Mask], *, places: bool = False) -> pa.Table:
        found = list[pa.Table]()
        for piece in self._lake.letters.heads([*LETTER_NAME.names, "key", "state", "code", *(["headers"] if places else [])]):
            part = piece.filter(pa.array(chosen(piece)))
            found.append(_placed(part) if places else part)
        return pa.concat_tables(found)

    def _readable(self, heads: pa.Table) -> pa.Table:
        """Those that can be read now, and stand behind nothing that cannot."""
        found, held = [heads.slice(0, 0)], Known()
        for topic, part in _by_topic(heads, ("offset", "partition")):
            letters = self._lake.letters.fetch(part)
            records = records_of(letters)
            _, refused = apart(self._decode, topic, records, held.behind(records, topic))
            if refused is not None:
                if code := next((one for one in refused.codes if one not in LASTING), None):
                    raise BusError(f"The registry cannot be asked ({code}): {refused.reasons[0]}", entity=topic, code=code)
                left = among(records, refused.records)
                held.learn(letters.filter(pa.array(left)))
            found.append(part if refused is None else part.filter(pa.array(~left)))
        return pa.concat_tables(found)


def _placed(heads: pa.Table) -> pa.Table:
    """With the place of each, by which they are put in order; without one, as Debezium's are, its partition stands for it."""
    ours, places = places_in(heads["headers"])
    told: dict[str, Any] = {"lsn": np.zeros(heads.num_rows, np.int64), "ordinal": np.zeros(heads.num_rows, np.int32), "step": heads["partition"].to_numpy().copy()}
    for name, values in told.items():
        values[ours] = getattr(places, name)
        heads = heads.append_column(name, pa.array(values))
    return heads.drop_columns(["headers", "key", "state", "code"])


def _by_topic(heads: pa.Table, order: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Some letters of a topic at a time."""
    for topic in sorted(map(str, pc.unique(heads["topic"]).to_pylist())):
        ours = heads.filter(pc.equal(heads["topic"], pa.scalar(topic))).sort_by([(name, "ascending") for name in order])
        for begin in range(0, ours.num_rows, AT_ONCE):
            yield topic, ours.slice(begin, AT_ONCE)


def _moved(batch: Batch, position: int, ordinal: int) -> Batch:
    """The same changes at another position."""
    data, count = batch.data, batch.data.num_rows
    data = data.drop_columns([name for name in (SEQUENCE, ROW) if name in data.column_names])
    places = {"_lsn": pa.array(np.full(count, position, np.int64)), "_ordinal": pa.array(np.arange(ordinal, ordinal + count, dtype=np.int32))}
    for name, values in places.items():
        data = data.set_column(data.schema.get_field_index(name), name, values)
    return replace(batch, data=data)


def meant(letters: pa.Table, topic: str, key: str) -> Mask:
    """Which letters an order means."""
    found = np.ones(letters.num_rows, bool)
    if topic:
        found &= np.asarray(pc.equal(letters["topic"], pa.scalar(topic)))
    if key:
        wanted = None
        with suppress(ValueError):
            wanted = bytes.fromhex(key.removeprefix("0x"))
        found &= np.asarray(pc.fill_null(pc.equal(letters["key"], pa.scalar(wanted, pa.binary())), pa.scalar(value=False)))
    return found
