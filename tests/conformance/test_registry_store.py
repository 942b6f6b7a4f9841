"""What every store of the registry must do: commit or take back, show one moment, and number without gaps among rivals."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from tests.forked import Talking

from bitvelocity.errors import RegistryError
from bitvelocity.streams.registry import PostgresStore, Request, SqliteStore, Store, respond, rows
from bitvelocity.streams.registry.subjects import Subject

Open = Callable[[], Store]

RIVAL = """
import fcntl, json, sys
from pathlib import Path
from bitvelocity.streams.registry import PostgresStore, Request, SqliteStore, respond
gate, kind, where, name, count = sys.argv[1:]
with open(gate) as file:
    print("here", flush=True)
    fcntl.flock(file, fcntl.LOCK_SH)  # until all are here
store = SqliteStore(Path(where)) if kind == "sqlite" else PostgresStore(where)
for number in range(int(count)):
    fields = [{"name": f"{name}_{number}", "type": "long", "default": 0}]
    own = json.dumps({"type": "record", "name": "R", "fields": fields})
    shared = json.dumps({"type": "fixed", "name": f"shared_{number}", "size": number + 1})
    for subject, text in (("rivals", own), (f"own_{name}_{number}", shared)):
        body = json.dumps({"schema": text}).encode()
        answer = respond(store, Request("POST", f"subjects/{subject}/versions", {}, body))
        assert answer.status == 200, answer.value
"""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> tuple[str, str]:
    """An engine, and where it keeps this test's schemas."""
    if request.param == "sqlite":
        return "sqlite", str(tmp_path / "registry.db")
    return "postgres", database


@pytest.fixture
def open_store(place: tuple[str, str]) -> Iterator[Open]:
    opened: list[Store] = []

    def open_one() -> Store:
        kind, where = place
        opened.append(SqliteStore(Path(where)) if kind == "sqlite" else PostgresStore(where))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def ask(store: Store, method: str, path: str, body: Any = None) -> Any:
    answer = respond(store, Request(method, path, {}, json.dumps(body).encode() if body is not None else b""))
    assert answer.status == 200, answer.value
    return answer.value


@pytest.mark.every_postgres
def test_a_commit_is_seen_by_others_and_kept(open_store: Open) -> None:
    one, other = open_store(), open_store()
    ask(one, "POST", "subjects/s/versions", {"schema": '"string"'})
    assert ask(other, "GET", "subjects/s/versions/1")["schema"] == '"string"'
    one.close()
    assert ask(open_store(), "GET", "subjects") == ["s"]


def test_an_exception_takes_everything_back(open_store: Open) -> None:
    store = open_store()
    with pytest.raises(ZeroDivisionError):
        _add_and_fail(store)
    with store.reading() as run:
        assert rows.history(run, Subject(".", "s")) == []
        assert rows.subjects(run) == []


def _add_and_fail(store: Store) -> None:
    with store.writing() as run:
        rows.add_version(run, Subject(".", "s"), 1, 1)
        raise ZeroDivisionError


def test_a_reader_sees_one_moment(open_store: Open) -> None:
    one, other = open_store(), open_store()
    with one.reading() as run:
        assert rows.subjects(run) == []
        ask(other, "POST", "subjects/s/versions", {"schema": '"string"'})
        assert rows.subjects(run) == []
    with one.reading() as run:
        assert rows.subjects(run) == [(Subject(".", "s"), True)]


@pytest.mark.every_postgres
def test_threads_of_one_process_number_without_gaps(open_store: Open) -> None:
    store = open_store()
    start = Barrier(8)

    def register(name: int) -> None:
        start.wait()
        for number in range(5):
            text = json.dumps({"type": "fixed", "name": f"f{name}_{number}", "size": 4})
            ask(store, "POST", f"subjects/s{name}_{number}/versions", {"schema": text})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(register, range(8)))
    ids = [one["id"] for one in ask(store, "GET", "schemas")]
    assert ids == list(range(1, 41))


def test_rival_processes_give_each_number_once(open_store: Open, place: tuple[str, str], tmp_path: Path) -> None:
    """Four processes, which begin at once: versions of the shared subject are contiguous, equal schemas have one id."""
    count, names = 15, "abcd"
    gate = tmp_path / "gate"
    with gate.open("w") as file, ExitStack() as stack:
        fcntl.flock(file, fcntl.LOCK_EX)
        rivals = [Talking("-c", RIVAL, str(gate), *place, name, str(count), cwd=tmp_path) for name in names]
        for rival in rivals:
            stack.callback(rival.end)
            assert rival.stdout.readline() == "here\n"
        fcntl.flock(file, fcntl.LOCK_UN)
        assert [rival.ended() for rival in rivals] == [0] * len(rivals)
    store = open_store()
    versions = ask(store, "GET", "subjects/rivals/versions")
    assert versions == list(range(1, count * len(names) + 1))
    held = ask(store, "GET", "schemas")
    own = [one["id"] for one in held if one["subject"] == "rivals"]
    assert len(set(own)) == len(own)
    shared = {(one["schema"], one["id"]) for one in held if one["subject"] != "rivals"}
    assert len(shared) == count
    assert sorted({one["id"] for one in held}) == list(range(1, count * len(names) + count + 1))


def test_a_connection_that_died_is_replaced(database: str) -> None:
    """The server ended every session, as a restart does: the next request opens a new one."""
    store = PostgresStore(database)
    ask(store, "POST", "subjects/s/versions", {"schema": '"string"'})
    with store.writing() as run:
        run("select pg_backend_pid()", ())
    killer = PostgresStore(database)
    with killer.writing() as run:
        ended = run("select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where pid <> pg_backend_pid() "
                    "and application_name = 'bitvelocity registry'", ())  # fmt: skip
    assert ended[0][0] >= 1
    assert ask(store, "GET", "subjects") == ["s"]
    store.close()
    killer.close()


def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"this is no database, it is a text of some length" * 40)
    with pytest.raises(RegistryError, match=r"registry\.db") as refused:
        SqliteStore(tmp_path / "registry.db")
    assert refused.value.code == "50001"


def test_a_new_file_that_another_is_making_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself refuses at once to change a journal while somebody writes."""
    file = tmp_path / "registry.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("begin immediate")
        other.execute("create table unrelated (a)")
        opening = pool.submit(SqliteStore, file)
        assert not wait([opening], timeout=0.2).done
        other.execute("commit")
        opening.result().close()


def test_a_commit_that_is_refused_holds_nobody_up(tmp_path: Path) -> None:
    """Its connection would keep the writer's lock."""
    store, other = SqliteStore(tmp_path / "registry.db"), SqliteStore(tmp_path / "registry.db")
    with closing(store), closing(other):
        with store.writing() as run:
            run("create table one (id integer primary key, of integer references one deferrable initially deferred)", [])
        connection = store._connections._idle[-1]
        connection.execute("pragma foreign_keys = on")
        with pytest.raises(RegistryError, match="FOREIGN KEY"), store.writing() as run:
            run("insert into one values (1, 2)", [])
        assert not connection.in_transaction
        with other.writing() as run:
            assert run("select count(*) from one", []) == [(0,)]
