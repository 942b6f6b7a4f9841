"""What is asked without starting or changing anything, at every stage of a project's life."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from psycopg import conninfo

from bitvelocity.changes import Mark, Receipt
from bitvelocity.flow import (
    Database,
    Heartbeat,
    Project,
    Step,
    diagnose,
    flowing,
    open_project,
    prepare,
    prometheus,
    read_beat,
    reconcile,
    running_database,
    status,
    wait_until,
)
from bitvelocity.oltp import connect, server_account

MakeProject = Callable[..., Project]


def verdicts(start: Path) -> dict[str, bool]:
    return {check.name: check.ok for check in diagnose(start)}


def test_before_anything(make_project: MakeProject) -> None:
    project = make_project()
    found = status(project)
    assert (found.running, found.slot, found.watermark, found.tables) == (None, None, None, ())
    assert not found.level
    assert found.freshness_seconds is None
    assert all("bitvelocity up" in note for note in found.notes)
    assert json.dumps(found.as_dict())
    assert running_database(project) is None
    assert verdicts(project.root) == {"project": True, "lake": True, "programs": True, "source": True}
    assert sorted(path.name for path in project.root.iterdir()) == ["bitvelocity.toml", "entities.py", "models"]


def test_root_without_an_account_that_could_run_postgresql(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    monkeypatch.setattr("bitvelocity.flow.doctor.server_account", partial(server_account, ("bv-no-such-user",)))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (programs,) = [check for check in diagnose(project.root) if check.name == "programs"]
    assert not programs.ok
    assert "refuses to run as root" in programs.what
    assert programs.remedy is not None
    assert "[database] dsn" in programs.remedy


def test_a_source_that_does_not_answer(make_project: MakeProject) -> None:
    project = make_project("host=127.0.0.1 port=1 dbname=x connect_timeout=3")
    found = status(project)
    assert found.slot is None
    assert "refused" in found.notes[0]
    checks = {check.name: check for check in diagnose(project.root)}
    assert not checks["connection"].ok
    assert checks["connection"].remedy


def test_prepared_not_started(make_project: MakeProject, database: str) -> None:
    project = make_project(database)
    told = {check.name: check for check in diagnose(project.root)}
    assert (told["publication"].ok, told["table"].ok) == (True, True), "both are made by the first up"
    assert "bitvelocity up makes it" in told["publication"].what
    prepare(project, database)
    found = status(project)
    assert found.slot
    assert not found.slot.exists
    assert not found.level, "nothing is level where nothing is"
    after = verdicts(project.root)
    assert after["publication"]
    assert after["slot"], "there is none yet, and that is as it should be"


def test_with_a_lake(make_project: MakeProject, database: str) -> None:
    project = make_project(database)
    prepare(project, database)
    with connect(database, autocommit=True) as connection:
        connection.execute("insert into things values (1, 'a'), (2, 'b')")
    assert reconcile(project, Database(database)).ok
    found = status(project)
    assert {(table.layer, table.name): table.rows for table in found.tables} == {
        ("bronze", "things"): 2, ("silver", "things"): 2, ("gold", "counted"): 2,
    }  # fmt: skip
    assert found.slot
    assert found.slot.exists
    assert found.watermark
    assert [check for check in diagnose(project.root) if not check.ok] == []
    with connect(database, autocommit=True) as connection:
        connection.execute("select pg_drop_replication_slot(%s)", [project.settings.capture.slot])
    assert not status(project).level
    lost = {check.name: check for check in diagnose(project.root)}["slot"]
    assert not lost.ok
    assert lost.remedy


ORPHAN = """
import sys, psycopg
connection = psycopg.connect(sys.argv[1], autocommit=True)
connection.execute("select pg_copy_logical_replication_slot(%s, %s, true), pg_sleep(600)", sys.argv[2:])
"""


def test_the_copy_of_a_slot_that_a_kill_left_behind(make_project: MakeProject, database: str) -> None:
    """Whoever read a backlog was killed, and the server is at work and has not noticed: its process is named, and can be ended."""
    project = make_project(database)
    prepare(project, database)
    assert reconcile(project, Database(database)).ok
    slot = project.settings.capture.slot
    deadline = time.monotonic() + 30
    with subprocess.Popen([sys.executable, "-c", ORPHAN, database, slot, f"{slot}_copy"]) as reader:
        while not ((found := status(project).slot) and found.catching_up):
            assert time.monotonic() < deadline
        reader.kill()
    assert found.findings[-1] == "A backlog is being read through COPY."
    checks = {check.name: check for check in diagnose(project.root) if check.state != "ok"}
    assert "other slots" not in checks
    assert f"process {found.active_pid} of the server reads a backlog" in checks["slot"].what
    with connect(database, autocommit=True) as connection:
        connection.execute(str(checks["slot"].remedy).encode())
    while (left := status(project).slot) and left.catching_up:
        assert time.monotonic() < deadline
    assert {check.name: check.what for check in diagnose(project.root)}["slot"].startswith("Nobody reads the slot")


def test_level_while_neighbours_write(make_project: MakeProject, database: str) -> None:
    """The end of the WAL is never ours for long beside a busy database: level is what was committed when we asked."""
    project = make_project(database)
    prepare(project, database)
    beat = Heartbeat(project, Database(database))
    with flowing(project, Database(database)) as check, connect(database, autocommit=True) as busy:
        beat.begin()
        busy.execute("create table elsewhere (n int)")
        busy.execute("insert into things values (1, 'a')")
        done = threading.Event()

        def write() -> None:
            while not done.is_set():
                busy.execute("insert into elsewhere select generate_series(1, 100)")

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            try:
                wait_until(project, 1, check)
                found = status(project)
            finally:
                done.set()
            writing.result()
    beat.clear()
    assert found.level, found.slot
    assert found.freshness_seconds == 0.0


def test_metrics_have_the_names_that_are_promised(make_project: MakeProject, database: str) -> None:
    project = make_project(database)
    assert "bitvelocity_up 0" in prometheus(status(project)).splitlines()
    prepare(project, database)
    assert reconcile(project, Database(database)).ok
    found = status(project)
    slot = f'slot="{project.settings.capture.slot}"'
    lines = prometheus(found).splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert found.slot
    assert values[f"bitvelocity_slot_retained_bytes{{{slot}}}"] == f"{found.slot.retained_bytes:.15g}"
    assert values[f'bitvelocity_slot_state{{{slot},state="{found.slot.state}"}}'] == "1"
    assert values['bitvelocity_rows{layer="bronze",table="things"}'] == "0"
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    samples = {name.partition("{")[0] for name in values}
    assert samples == set(names)


def test_the_project_says_when_to_warn(make_project: MakeProject, database: str) -> None:
    project = make_project(database)
    prepare(project, database)
    assert reconcile(project, Database(database)).ok
    file = project.root / "bitvelocity.toml"
    file.write_text(file.read_text() + "warn_retained_mb = 0\nbad_retained_mb = 0\n")
    found = status(open_project(project.root)).slot
    assert found
    assert found.state == "bad"
    assert {check.name: check.state for check in diagnose(project.root)}["slot"] == "bad"


def test_reconcile_may_be_the_first_command(make_project: MakeProject, database: str) -> None:
    """The lake's own first snapshot must not count as later than the copy that it is compared with."""
    project = make_project(database)
    prepare(project, database)
    with connect(database, autocommit=True) as connection:
        connection.execute("insert into things select n, null from generate_series(1, 500) as n")
    verdict = reconcile(project, Database(database))
    assert verdict.ok, verdict.as_dict()
    assert verdict.entities[0].silver == 500


def test_a_wrong_project_is_one_finding(tmp_path: Path, make_project: MakeProject) -> None:
    assert verdicts(tmp_path) == {"project": False}
    project = make_project()
    (project.root / "entities.py").write_text("x =")
    checks = diagnose(project.root)
    assert [(check.name, check.ok) for check in checks] == [("project", False)]
    assert checks[0].remedy


def test_a_lake_in_the_way(make_project: MakeProject) -> None:
    project = make_project()
    (project.root / ".bitvelocity").mkdir()
    (project.root / ".bitvelocity" / "lake").write_text("a file")
    checks = {check.name: check for check in diagnose(project.root)}
    assert not checks["lake"].ok
    assert "[lake] path" in str(checks["lake"].remedy)


def test_a_pipeline_that_cannot_go_on_says_why(make_project: MakeProject, database: str) -> None:
    project = make_project(database)  # not prepared: there is no publication
    with pytest.raises(Exception, match="publication"), flowing(project, Database(database)) as check:
        wait_until(project, 0, check)


def test_a_beat_of_the_living(make_project: MakeProject) -> None:
    project = make_project()
    assert read_beat(project) is None
    beat = Heartbeat(project, Database(""))
    beat.begin()
    found = read_beat(project)
    assert found
    assert found["pid"] == os.getpid()
    beat.clear()
    assert read_beat(project) is None


def test_a_beat_tells_of_the_last_step_of_a_burst(make_project: MakeProject) -> None:
    """Nothing comes behind it that could."""
    project = make_project()
    beat = Heartbeat(project, Database(""))
    beat.begin()
    for lsn in range(1, 4):
        beat.note(Step(Mark(lsn, lsn, transactions=1, rows=2), Receipt(sink="lake", lsn=lsn), None, 0.01))
    deadline = time.monotonic() + 30
    while (found := read_beat(project)) and found["rows"] < 6 and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    beat.clear()
    assert found
    assert (found["rows"], found["transactions"], found["step_seconds"]) == (6, 3, 0.01)
    assert found["rows_per_second"] > 0


def test_a_beat_of_the_dead(make_project: MakeProject) -> None:
    """A killed `up` leaves its beat behind; its process id may be a zombie's, or somebody else's by now."""
    project = make_project()
    Heartbeat(project, Database("")).begin()
    file = project.settings.state_folder / "up.json"
    written = json.loads(file.read_text())
    with subprocess.Popen(["sleep", "600"]) as other:
        file.write_text(json.dumps({**written, "pid": other.pid}))
        assert read_beat(project) is None, "another process"
        born = json.loads(file.read_text()) | {"born": None}
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        file.write_text(json.dumps(born | {"born": "0"}))
        assert read_beat(project) is None, "a zombie"
    assert read_beat(project) is None, "nobody"
    file.write_text("{")
    assert read_beat(project) is None, "cut off"


def test_what_is_served_holds_no_secret(make_project: MakeProject, database: str) -> None:
    secret = conninfo.make_conninfo(database, password="s3cret")
    served = Heartbeat(make_project(secret), Database(secret)).served()
    assert "s3cret" not in json.dumps(served)
