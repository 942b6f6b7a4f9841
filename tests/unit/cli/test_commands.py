"""Each command on a healthy project: words for a person, one JSON document for a program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.forked import python

from bitvelocity.cli.app import COMMANDS
from bitvelocity.cli.output import print_json
from bitvelocity.errors import SettingsError
from bitvelocity.flow import open_bus
from bitvelocity.oltp import connect
from bitvelocity.settings import load_settings
from bitvelocity.streams import Topic
from bitvelocity.streams.nats import NatsBus

Run = Callable[..., subprocess.CompletedProcess[str]]
Up = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]
MakeProject = Callable[..., Path]


@pytest.fixture
def ask_json(bitvelocity: Run) -> Callable[..., Any]:
    """The one document that a command prints; nothing else comes, on either stream."""

    def ask(*words: str, cwd: Path) -> Any:
        done = bitvelocity(*words, "--json", cwd=cwd)
        assert (done.returncode, done.stderr) == (0, ""), done
        return json.loads(done.stdout, parse_constant=pytest.fail)

    return ask


def test_help_of_all(bitvelocity: Run) -> None:
    for words in ([], ["--help"], ["-h"]):
        told = bitvelocity(*words)
        assert all(f"  {name}" in told.stdout + told.stderr for name in COMMANDS), words


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each(command: str) -> None:
    program = f"import sys; from bitvelocity.cli import main; main(['{command}', '--help'])"
    done = python("-c", program)
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: bitvelocity {command} ")
    assert "--json" in done.stdout


def test_used_wrongly(bitvelocity: Run) -> None:
    for words in (["upp"], ["up", "--jsno"], ["query"], ["demo", "--lines", "0"], ["query", "select 1", "--limit", "-1"]):
        done = bitvelocity(*words)
        assert done.returncode == 2, words
        assert done.stderr.startswith("Usage: ")


def test_init(ask_json: Callable[..., Any], bitvelocity: Run, tmp_path: Path) -> None:
    made = ask_json("init", "shop", cwd=tmp_path)
    assert made["folder"] == "shop"
    assert {"shop/bitvelocity.toml", "shop/entities.py"} <= set(made["files"])
    assert bitvelocity("init", "other", cwd=tmp_path).stdout.endswith("cd other && bitvelocity up\n")
    checks = ask_json("doctor", cwd=tmp_path / "shop" / "models")["checks"]
    assert {check["name"]: check["ok"] for check in checks}["project"] is True


def test_from_plan_to_proof(
    ask_json: Callable[..., Any], bitvelocity: Run, make_project: MakeProject, database: str, up: Up
) -> None:
    """The commands in the order in which a newcomer types them."""
    folder = make_project(database)
    planned = ask_json("apply", "--dry-run", cwd=folder)
    assert planned["applied"] is False
    assert any("create table" in step["sql"].lower() for step in planned["plan"]["steps"])
    with connect(database) as connection:
        assert connection.execute("select to_regclass('things')").fetchone() == (None,), "a dry run changes nothing"
    assert ask_json("apply", cwd=folder)["applied"] is True
    assert "Nothing to do" in bitvelocity("apply", cwd=folder).stdout

    process, served = up(folder, "--with", "nats")
    assert served["ready"] is True
    assert served["gold"] == "counted"
    the_server_beside_it_answers(folder, served["nats"])
    with connect(database, autocommit=True) as connection:
        connection.execute("insert into things values (1, 'spoon'), (2, 'spoon'), (3, null)")
        connection.execute("update things set name = 'fork' where id = 2")

    proof = ask_json("reconcile", cwd=folder)
    assert proof["ok"] is True
    assert [entity["source"] for entity in proof["entities"]] == [3]

    assert ask_json("status", cwd=folder)["running"]["pid"] == process.pid
    what_is_asked_is_answered(folder, ask_json, bitvelocity)
    process.terminate()
    assert process.wait() == 0
    assert bitvelocity("reconcile", cwd=folder).stdout.splitlines()[-1].startswith("Reconcile OK at ")
    assert not (folder / ".bitvelocity" / "nats" / "pid").exists(), "the server ends with up"


def the_server_beside_it_answers(folder: Path, address: str) -> None:
    """`up --with nats`: where it says that it listens, and where the project finds it by itself."""
    with closing(NatsBus(address)) as bus:
        bus.ensure(Topic(name="greetings"))
    with closing(open_bus(load_settings(folder), "nats")) as bus:
        assert bus.topics() == {"greetings": 1}


def test_a_transport_that_was_never_started_is_told(make_project: MakeProject) -> None:
    settings = load_settings(make_project("host=nowhere"))
    with pytest.raises(SettingsError, match="bootstrap names no server") as caught:
        open_bus(settings, "kafka")
    assert "up --with kafka" in str(caught.value.remedy)


def what_is_asked_is_answered(folder: Path, ask_json: Callable[..., Any], bitvelocity: Run) -> None:
    found = ask_json("status", cwd=folder)
    assert found["slot"]["active_pid"]
    assert {(table["layer"], table["name"]): table["rows"] for table in found["tables"]} == {
        ("bronze", "things"): 4, ("silver", "things"): 3, ("gold", "counted"): 3,
    }  # fmt: skip

    checks = ask_json("doctor", cwd=folder)
    assert checks["ok"] is True, checks
    assert all(isinstance(check, dict) for check in checks["checks"])

    rows = ask_json("query", "select * from gold.counted order by name", "--limit", "2", cwd=folder)
    assert rows == {"rows": [{"name": "fork", "n": 1}, {"name": "spoon", "n": 1}], "more": True}
    table = bitvelocity("query", "select name, n from gold.counted order by name", cwd=folder).stdout
    assert [line.split() for line in table.splitlines()] == [["name", "n"], ["fork", "1"], ["spoon", "1"], ["NULL", "1"]]

    life = ask_json("trace", "things", "2", cwd=folder)
    assert [change["operation"] for change in life["changes"]] == ["INSERT", "UPDATE"]
    assert life["changes"][1]["changed"] == {"name": ["spoon", "fork"]}
    assert life["gold"] == [{"model": "gold.counted", "through": "silver.things", "rows": [{"name": "fork", "n": 1}]}]
    assert "name spoon → fork" in bitvelocity("trace", "things", "2", cwd=folder).stdout


def test_what_differs_is_told(bitvelocity: Run, make_project: MakeProject, database: str) -> None:
    """A row smuggled past capture: reconcile must see it, say which, and end with 1."""
    folder = make_project(database)
    assert bitvelocity("reconcile", cwd=folder).returncode == 0 or bitvelocity("apply", cwd=folder).returncode == 0
    assert bitvelocity("reconcile", cwd=folder).returncode == 0
    with connect(database, autocommit=True) as connection:
        connection.execute("alter publication bitvelocity set (publish = 'update')")
        connection.execute("insert into things values (7, 'smuggled')")
    done = bitvelocity("reconcile", "--json", cwd=folder)
    assert done.returncode == 1
    verdict = json.loads(done.stdout)
    assert verdict["ok"] is False
    assert verdict["entities"][0]["missing"] == 1
    told = bitvelocity("reconcile", cwd=folder)
    assert told.returncode == 1
    assert "1 missing" in told.stdout
    assert "first: 7" in told.stdout
    assert "bitvelocity recover --force" in told.stdout


def test_numbers_that_json_has_no_word_for(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"rows": [{"a": float("nan"), "b": (float("inf"), 1.5, True, None)}, float("-inf")]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "rows": [{"a": "NaN", "b": ["Infinity", 1.5, True, None]}, "-Infinity"]
    }


def test_snapshot_orders_wait_for_a_pipeline(ask_json: Callable[..., Any], bitvelocity: Run, make_project: MakeProject, database: str) -> None:
    folder = make_project(database)
    assert "Nothing was read" in bitvelocity("snapshot", "status", cwd=folder).stdout
    told = ask_json("snapshot", "start", "things", "--where", "id > 1", cwd=folder)
    assert told == {"entity": "things", "ordered": "start", "running": False}
    assert ask_json("snapshot", "status", cwd=folder)["orders"] == [{"verb": "start", "entity": "things", "where": "id > 1"}]
    told = bitvelocity("snapshot", "status", cwd=folder).stdout
    assert "not taken up yet" in told
    assert "bitvelocity up" in told
    refused = bitvelocity("snapshot", "pause", "nothing", "--json", cwd=folder)
    assert (refused.returncode, json.loads(refused.stdout)["remedy"]) == (1, "Known: things.")


def test_recover_after_the_slot_was_lost(
    ask_json: Callable[..., Any], bitvelocity: Run, make_project: MakeProject, database: str, up: Up
) -> None:
    folder = make_project(database)
    process, _ = up(folder)
    process.terminate()
    process.wait()
    with connect(database, autocommit=True) as admin:
        admin.execute("insert into things values (1, 'missed')")
        admin.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()")
    found = ask_json("recover", cwd=folder)
    assert found == {"tables": [{"table": "public.things", "parts": 1, "differing": 1, "changes": {"c": 1}}]}
    assert "Recovered" in bitvelocity("recover", "--force", cwd=folder).stdout
    assert ask_json("reconcile", cwd=folder)["ok"]
