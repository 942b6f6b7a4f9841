"""Transactions of Debezium's, which it tells of on a topic of their own: the lake shows each whole, or not at all."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.test_debezium_format import DATA
from tests.conformance.test_debezium_source import Record, asked, put, take, take_and_be_killed

from bitvelocity.flow import Pipeline, Project, foreign, open_bus, open_project
from bitvelocity.lakehouse import read_watermark
from bitvelocity.streams import Topic
from bitvelocity.streams.placing import partition_of

ENTITIES = '''
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class A(Entity, table="a", name="a", audit=False):
    """One."""

    id: Annotated[int, Key()]
    v: str | None

class B(Entity, table="b", name="b", audit=False):
    """Another."""

    id: Annotated[int, Key()]
    v: str | None

class C(Entity, table="c", name="c", audit=False):
    """A third."""

    id: Annotated[int, Key()]
'''
TABLES = ("a", "b", "c")
State = tuple[tuple[int, ...], ...]


def told() -> list[Record]:
    """What Debezium 3.6.3 wrote, in its order: changed keys, a message, a transaction begun first and committed last, a COPY."""
    found = [json.loads(line) for line in (DATA / "transactions.jsonl").read_text().splitlines()]
    return [(one["topic"], *(None if one[part] is None else json.dumps(one[part], separators=(",", ":")).encode() for part in ("key", "value"))) for one in found]


def states(records: Sequence[Record]) -> list[State]:
    """The keys of each table after each transaction."""
    rows: dict[str, set[int]] = {name: set() for name in TABLES}
    found: list[State] = [((), (), ())]
    for topic, _, value in records:
        event = json.loads(value or b"{}")
        if event.get("status") == "END":
            found.append(tuple(tuple(sorted(rows[name])) for name in TABLES))
        elif event.get("op") in ("c", "d") and topic[-1] in rows:
            table = rows[topic[-1]]
            (table.add if event["op"] == "c" else table.discard)((event["after"] or event["before"])["id"])
    return found


def project_in(folder: Path, more: str = "", partitions: int = 1) -> Project:
    folder.mkdir()
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "bitvelocity.toml").write_text(f'[capture]\nsource = "debezium"\ntopics = "bv"\n{more}[lake]\nsync = false\n')
    project = open_project(folder)
    bus = open_bus(project.settings)
    for topic in {name for name, _, _ in told()}:
        bus.ensure(Topic(name=topic, partitions=1 if topic == "bv.transaction" else partitions))
    bus.close()
    return project


@contextmanager
def running(project: Project, words: list[str]) -> Iterator[Pipeline]:
    with Pipeline(project, lambda step: words.extend(step.words)) as pipeline:
        pipeline.connect("")
        pipeline.start()
        yield pipeline


def shown(project: Project) -> State:
    if read_watermark(project.lake) is None:
        return ((), (), ())
    rows = asked(project, " union all ".join(f"select '{name}', id from silver.{name}" for name in TABLES) + " order by all")
    return tuple(tuple(key for table, key in rows if table == name) for name in TABLES)


def bronze(project: Project) -> list[tuple[Any, ...]]:
    return [asked(project, f"select count(*), count(distinct (_lsn, _ordinal)) from bronze.{name}")[0] for name in TABLES]


def test_a_transaction_is_seen_whole_however_its_topics_come(tmp_path: Path) -> None:
    """Each topic in its own time, as producers write them; the lake is stopped in between."""
    project, dice, words = project_in(tmp_path / "p"), random.Random(1), list[str]()
    left: dict[str, list[Record]] = {}
    for one in told():
        left.setdefault(one[0], []).append(one)
    wanted, seen = states(told()), [0]
    while left:
        with running(project, words) as pipeline:
            for _ in range(12):
                if left:
                    topic = dice.choice(sorted(left))
                    count = dice.choice((1, 3, 5))
                    put(project, left[topic][:count])
                    left[topic] = left[topic][count:]
                    left = {name: rest for name, rest in left.items() if rest}
                pipeline.step(0.0)
                seen.append(wanted.index(shown(project), seen[-1]))
    assert wanted[seen[-1]] == wanted[-1]
    assert len(set(seen)) > 3, "it is not taken at the very end"
    assert words == []


def test_a_kill_and_what_is_sent_again_lose_and_double_nothing(tmp_path: Path) -> None:
    """Debezium goes back to what it had noted, in the middle of a transaction; the lake is killed at every step."""
    records = told()
    once, often, killed = (project_in(tmp_path / name) for name in ("once", "often", "killed"))
    put(once, records)
    take(once)
    for end in (11, 21, 33, len(records)):
        put(often, records[max(0, end - 16) : end])
        take(often)
        assert shown(often) in states(records)
    put(killed, [*records[:20], *records[14:]])
    take_and_be_killed(killed, 9, 13, 24)
    for project in (once, often, killed):
        assert shown(project) == states(records)[-1]
        assert bronze(project) == bronze(once)


def without_end(records: list[Record], transaction: bytes) -> list[Record]:
    return [one for one in records if not (one[0] == "bv.transaction" and b'"END"' in (one[2] or b"") and transaction in (one[2] or b""))]


def test_a_transaction_whose_end_is_lost_is_let_go(tmp_path: Path) -> None:
    """At once where that of a later one is there; else after some time."""
    project, words = project_in(tmp_path / "p", "transaction_seconds = 1\n"), list[str]()
    put(project, without_end(without_end(told(), b'"758:'), b'"764:')[:-2])
    with running(project, words) as pipeline:
        pipeline.step(0.0)
        assert shown(project) == states(told())[-3]
        assert words == ["transaction 758 is shown in parts: its END is not on the topic of transactions"]
        assert any(pipeline.step(2.0) for _ in range(5))
    assert shown(project) == states(told())[-1]
    assert words[1:] == ["transaction 764 is shown in parts: its rest did not come within 1 s"]


def test_keys_that_move_to_another_partition_keep_their_order(tmp_path: Path) -> None:
    """A converter is changed in the middle of a transaction: a row comes by the one, and goes by the other."""
    records, words = told()[:13], list[str]()
    moved = [next(more for more in (b" " * count for count in range(20)) if at(b'{"id":0}' + more) != at(b'{"id":0}')), b""]
    for number, (first, later) in enumerate((moved, moved[::-1])):
        project = project_in(tmp_path / str(number), partitions=2)
        put(project, [one for one in records if one[0] == "bv.transaction"])
        with running(project, words) as pipeline:
            put(project, [(topic, key and key + first, value) for topic, key, value in records[:4] if topic != "bv.transaction"], 2)
            assert pipeline.step(0.0) == 0
            put(project, [(topic, key and key + later, value) for topic, key, value in records[4:] if topic != "bv.transaction"], 2)
            pipeline.step(0.0)
        assert shown(project) == states(records)[-1]
    assert words == []


def at(key: bytes) -> int:
    return int(partition_of(pa.array([key]), 2)[0])


def test_what_never_comes_is_waited_for_once(tmp_path: Path) -> None:
    """A topic whose records were dropped, or are compacted: all transactions that lack some go together, not one after the other."""
    project, words = project_in(tmp_path / "p", "transaction_seconds = 1\n"), list[str]()
    put(project, [one for one in told() if one[0] != "bv.public.b"])
    with running(project, words) as pipeline:
        assert pipeline.step(0.0) == 0
        assert any(pipeline.step(2.0) for _ in range(5))
        assert shown(project) == (states(told())[-1][0], (), states(told())[-1][2])
    assert words == ["transaction 757 and 4 more are shown in parts: its rest did not come within 1 s"]


def test_counts_begun_anew_hold_nothing_back(tmp_path: Path) -> None:
    """Debezium up to 3.6.0, stopped within a transaction, counts its rest from one again."""
    project, words = project_in(tmp_path / "p"), list[str]()
    whole = told()
    records = [*whole[:13], *[(topic, key, value and anew(value)) for topic, key, value in whole[13:18]], *whole[18:]]
    put(project, records)
    with running(project, words) as pipeline:
        pipeline.step(0.0)
        assert shown(project) == states(whole)[-1]
    assert words == []


def anew(value: bytes) -> bytes:
    """As if nothing of the transaction had been counted before the fourth of its events."""
    for number in (4, 5, 6):
        value = value.replace(b'"total_order":%d,' % number, b'"total_order":%d,' % (number - 3))
    return value.replace(b'"event_count":6', b'"event_count":3').replace(b'"public.b","event_count":3', b'"public.b","event_count":1').replace(b'"public.a","event_count":3', b'"public.a","event_count":2')


def test_a_transaction_that_is_too_large_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; those before it and behind it are whole."""
    monkeypatch.setattr(foreign, "_ROWS", 6)
    project, words = project_in(tmp_path / "p"), list[str]()
    put(project, told())
    with running(project, words) as pipeline:
        while pipeline.step(0.0):
            pass
    assert shown(project) == states(told())[-1]
    assert {word.partition(": ")[2] for word in words} == {"it is larger than what is held at once"}
    assert bronze(project) == [(10, 10), (11, 11), (4, 4)], "both halves of the changed keys, each once"


def test_transactions_are_not_joined_where_nobody_waits(tmp_path: Path) -> None:
    project = project_in(tmp_path / "p", "transaction_seconds = 0\n")
    put(project, [one for one in told() if one[0] != "bv.public.b"])
    take(project)
    assert shown(project) == (states(told())[-1][0], (), states(told())[-1][2])
