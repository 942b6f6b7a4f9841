"""`bitvelocity changes`: JSON lines from a live source, through a slot that is gone afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitvelocity.flow import open_project, prepare
from bitvelocity.oltp import connect

Run = Callable[..., subprocess.CompletedProcess[str]]
MakeProject = Callable[..., Path]


@pytest.fixture
def shop(make_project: MakeProject, database: str) -> Path:
    folder = make_project(database)
    prepare(open_project(folder), database)
    with connect(database, autocommit=True) as connection:
        connection.execute("insert into things values (1, 'spoon'), (2, 'fork')")
    return folder


def slots(database: str) -> list[Any]:
    with connect(database, autocommit=True) as connection:
        return connection.execute("select slot_name from pg_replication_slots where database = current_database()").fetchall()


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, ""), done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_tables_as_they_stand_in_each_format(bitvelocity: Run, shop: Path, database: str) -> None:
    found = lines(bitvelocity("changes", "-o", "topic.prefix=shop", cwd=shop))
    assert [(r["topic"], r["key"], r["value"]["op"], r["value"]["after"]) for r in found] == [
        ("shop.public.things", {"id": 1}, "r", {"id": 1, "name": "spoon"}),
        ("shop.public.things", {"id": 2}, "r", {"id": 2, "name": "fork"}),
    ]
    assert [r["value"]["source"]["snapshot"] for r in found] == ["first", "last"]
    flat = lines(bitvelocity("changes", "--format", "debezium-unwrapped", "-o", "add.fields=op,table", cwd=shop))
    assert flat[0]["value"] == {"id": 1, "name": "spoon", "__op": "r", "__table": "things"}
    own = lines(bitvelocity("changes", "--format", "bitvelocity", "--entity", "things", "--schemas", cwd=shop))
    assert own[1]["value"]["payload"] == {"id": 2, "name": "fork"}
    assert own[1]["value"]["metadata"]["operation"] == "READ"
    assert [field["field"] for field in own[1]["value"]["schema"]["fields"]] == ["id", "name"]
    assert slots(database) == []


def test_what_commits_from_now_on(shop: Path, database: str) -> None:
    command = [sys.executable, "-m", "bitvelocity", "changes", "--from", "now", "--limit", "3"]
    with subprocess.Popen(command, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        try:
            with connect(database, autocommit=True) as connection:
                while not connection.execute(
                    "select 1 from pg_replication_slots where database = current_database() and active and confirmed_flush_lsn is not null"
                ).fetchone():
                    assert reader.poll() is None, reader.communicate()
                connection.execute("update things set id = 7 where id = 1")
            out, err = reader.communicate(timeout=60)
        finally:
            reader.kill()
    assert (reader.returncode, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert [(r["key"]["id"], r["value"] and r["value"]["op"]) for r in found] == [(1, "d"), (1, None), (7, "c")]
    assert found[0]["headers"] == {"__debezium.newkey": {"id": 7}}
    assert found[2]["headers"] == {"__debezium.oldkey": {"id": 1}}
    assert slots(database) == []


def test_heartbeats_come_though_nothing_does(bitvelocity: Run, shop: Path) -> None:
    found = lines(bitvelocity("changes", "--from", "now", "--limit", "2", "-o", "heartbeat.interval.ms=50", "-o", "topic.prefix=s", cwd=shop))
    assert [(r["topic"], r["key"]) for r in found] == [("__debezium-heartbeat.s", {"serverName": "s"})] * 2
    assert found[0]["value"]["ts_ms"] < found[1]["value"]["ts_ms"]


def test_what_is_wrong_is_said(bitvelocity: Run, shop: Path) -> None:
    assert "It is a number" in bitvelocity("changes", "-o", "heartbeat.interval.ms=often", cwd=shop).stderr
    wrong = bitvelocity("changes", "-o", "decimal.handling.mode=exact", cwd=shop)
    assert wrong.returncode == 1
    assert "precise, double, string" in wrong.stderr
    unknown = bitvelocity("changes", "--entity", "nothing", "--json", cwd=shop)
    assert json.loads(unknown.stdout)["remedy"] == "It is one of: things."
    assert bitvelocity("changes", "-o", "novalue", cwd=shop).returncode == 2
