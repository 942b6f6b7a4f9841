"""Dead letters that people give back or give up: orders from any process, carried out by the one that has the lake.

What is given back stands at a position of its own: one above the lake's, where no commit of the source can stand, since
a commit takes more than one byte of WAL. The plan that names the position and the letters is on disk before anything is
staged, and goes when all of it was published: broken off anywhere, the next start does the same again before it takes anything
else, and each table drops what it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ..capture.debezium import ROW, SEQUENCE
from ..changes import Batch, Mark, Passing, pass_by
from ..errors import BusError
from ..files import replace_file
from ..lakehouse import FOLLOWS, Lake, Watermark, identities
from ..streams import FETCHED_SCHEMA, PLACE_HEADER, parse_place
from .lettering import FOREIGN, LASTING, headers_from
from .parking import apart, fitting
from .project import Project

ORDERS, PLAN = ".dead-letters", "plan.json"
Verb = Literal["replay", "drop"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is being carried out: these letters, at that position."""

    verb: Verb
    position: int
    letters: tuple[tuple[str, int, int, int], ...]
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
        self._decode = fitting(decode, lambda batch: lake.misfits(batch, rules=rules, tried=True), placed=placed)

    def next(self, last: Watermark) -> Plan | None:
        """The plan that was broken off, else one for the oldest order; None when nothing is to be done."""
        if (self._folder / PLAN).exists():
            return self._planned()
        if last.position + 1 >= max(last.resume, last.seen):
            return None  # the source's next commit might stand there: it waits for a sign of the source
        if last.position < self._lake.horizon:
            return None  # some tables are further, and would take what comes below for a repeat
        for file in sorted(self._folder.glob("[0-9]*.json")):
            wanted = Wanted(**json.loads(file.read_bytes()))
            letters = self._letters(wanted)
            chosen = tuple(identities(letters)) if wanted.verb == "drop" else tuple(self._readable(letters))
            if chosen:
                plan = Plan(wanted.verb, last.position + 1, chosen, file.name)
                replace_file(self._folder / PLAN, json.dumps(asdict(plan)), sync=True)
                self._at("planned")
                return self._taken(plan)
            file.unlink()
        return None

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """The changes of a plan, at its position, in their order."""
        if plan.verb == "drop":
            return
        ordinal = 0
        for topic, records, _ in _by_topic(self._chosen(plan)):
            batches, refused = self._decode(topic, records)
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
        return replace(Mark(plan.position, max(last.resume, last.seen), last.committed_at), rows=len(plan.letters))

    def done(self) -> None:
        """It was published."""
        (self._folder / PLAN).unlink(missing_ok=True)
        self._at("done")

    def _planned(self) -> Plan:
        told = json.loads((self._folder / PLAN).read_bytes())
        letters = tuple((str(a), int(b), int(c), int(d)) for a, b, c, d in told["letters"])
        return self._taken(Plan(told["verb"], told["position"], letters, told.get("order", "")))

    def _taken(self, plan: Plan) -> Plan:
        """The order must not outlive its plan: carried out again, it would mean letters that came later."""
        if plan.order:
            (self._folder / plan.order).unlink(missing_ok=True)
        self._at("order taken")
        return plan

    def _letters(self, wanted: Wanted) -> pa.Table:
        letters = self._lake.letters.stored()
        rows = letters.select(["topic", "key", "state", "code"]).to_pylist()
        drops = wanted.verb == "drop"
        meant = [
            means(row, wanted.topic, wanted.key) and row["state"] == "parked" and not (drops and row["code"] == FOLLOWS)
            for row in rows
        ]
        return letters.filter(pa.array(meant, pa.bool_()))

    def _readable(self, letters: pa.Table) -> Iterator[tuple[str, int, int, int]]:
        """Those that can be read now, and stand behind nothing that cannot."""
        ours = letters.filter(pa.array([code != FOREIGN for code in letters["code"].to_pylist()], pa.bool_()))
        for topic, records, names in _by_topic(ours):
            _, refused = apart(self._decode, topic, records, np.zeros(records.num_rows, bool))
            if refused is not None and (code := next((one for one in refused.codes if one not in LASTING), None)):
                raise BusError(f"The registry cannot be asked ({code}): {refused.reasons[0]}", entity=topic, code=code)
            left = set(zip(*(refused.records[name].to_pylist() for name in ("partition", "offset")), strict=True)) if refused else set()
            yield from (name for name in names if (name[1], name[2]) not in left)

    def _chosen(self, plan: Plan) -> pa.Table:
        letters, chosen = self._lake.letters.stored(), set(plan.letters)
        return letters.filter(pa.array([one in chosen for one in identities(letters)], pa.bool_()))


def _by_topic(letters: pa.Table) -> Iterator[tuple[str, pa.Table, Sequence[tuple[str, int, int, int]]]]:
    """Letters as the records that they were, in the order of their places; and their names."""
    rows = [{**row, "headers": headers_from(row["headers"]), "name": name} for row, name in zip(letters.to_pylist(), identities(letters), strict=True)]
    for topic in sorted({row["topic"] for row in rows}):
        ours = sorted((row for row in rows if row["topic"] == topic), key=_order)
        yield topic, pa.Table.from_pylist(ours, schema=FETCHED_SCHEMA), [row["name"] for row in ours]


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """By its place; without one, as Debezium's are, by its partition. In both by its offset then."""
    told = dict(row["headers"]).get(PLACE_HEADER)
    return (*(parse_place(told) if told else (0, 0, row["partition"])), row["offset"])


def _moved(batch: Batch, position: int, ordinal: int) -> Batch:
    """The same changes at another position."""
    data, count = batch.data, batch.data.num_rows
    data = data.drop_columns([name for name in (SEQUENCE, ROW) if name in data.column_names])
    places = {"_lsn": pa.array(np.full(count, position, np.int64)), "_ordinal": pa.array(np.arange(ordinal, ordinal + count, dtype=np.int32))}
    for name, values in places.items():
        data = data.set_column(data.schema.get_field_index(name), name, values)
    return replace(batch, data=data)


def means(row: dict[str, Any], topic: str, key: str) -> bool:
    """Whether an order means this letter."""
    return topic in ("", row["topic"]) and key in ("", key_text(row["key"]))
