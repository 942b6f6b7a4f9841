"""Whatever is wrong, a command says what, and what to do; nothing is lost, and no secret is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo, sql

from bitvelocity.flow import open_project, prepare
from bitvelocity.oltp import EmbeddedPostgres, connect

SECRET = "s3cret-of-the-test"
QUERY = "select name, count(*) as n from silver.things group by name"
Fails = Callable[..., dict[str, Any]]
Run = Callable[..., subprocess.CompletedProcess[str]]
Up = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]
MakeProject = Callable[..., Path]


# The project's files -------------------------------------------------------------------------------------


def test_no_project(fails: Fails, tmp_path: Path) -> None:
    error = fails("status", cwd=tmp_path, alone=True)
    assert "There is no bitvelocity.toml" in error["what"]
    assert "bitvelocity init" in error["remedy"]


@pytest.mark.parametrize(
    ("more", "what", "remedy"),
    [
        ("[lake]\npaht = 'x'", "[lake] paht is not a setting", "Did you mean 'path'"),
        ("[lakes]\npath = 'x'", "[lakes] is not a setting", "Did you mean 'lake'"),
        ("[lake]\nsync = 'yes'", "[lake] sync: expected bool, got str", "bool"),
        ("[lake]\npath = '${NO_SUCH_NAME}'", "[lake] path asks for the environment variable NO_SUCH_NAME", "export"),
        ("[lake\n", "bitvelocity.toml", "TOML"),
    ],
)
def test_settings(fails: Fails, make_project: MakeProject, more: str, what: str, remedy: str) -> None:
    error = fails("apply", cwd=make_project(more=more))
    assert error["error"] == "SettingsError"
    assert what in error["what"]
    assert remedy in error["remedy"]


@pytest.mark.parametrize(
    ("old", "new", "what", "line"),
    [
        ("Length(40)", "Length(0)", "a length of 0", 5),
        ("str | None", "complex", "Thing.name", 5),
        ("Key()", "Lenght(4)", "Lenght", 8),
        ("    id", "    class id(:", "Python cannot read the file", 8),
        ('    """A thing."""', "    1 / 0", "ZeroDivisionError", 6),
        ("from typing", "import no_such_module\nfrom typing", "no_such_module", 2),
    ],
)
def test_entities(fails: Fails, make_project: MakeProject, old: str, new: str, what: str, line: int) -> None:
    folder = make_project()
    edit(folder / "entities.py", old, new)
    error = fails("apply", cwd=folder)
    assert error["error"] == "DeclarationError"
    assert what in error["what"]
    assert error["position"] == f"{folder / 'entities.py'}:{line}"


def test_no_entity(fails: Fails, make_project: MakeProject) -> None:
    folder = make_project()
    (folder / "entities.py").write_text("")
    (folder / "models" / "counted.sql").unlink()
    for command in ("apply", "up"):
        assert "declares no entity" in fails(command, cwd=folder)["what"]


def test_no_entities_file(fails: Fails, make_project: MakeProject) -> None:
    folder = make_project()
    (folder / "entities.py").unlink()
    assert str(folder / "entities.py") in fails("up", cwd=folder)["what"]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("select name", "select nmae", "nmae"),
        ("silver.things", "silver.thongs", "thongs"),
        ("bigint", "money", "money"),
        ("as n from", "as m from", "n"),
        ("-- key: name\n", "", "key"),
        ("model: counted", "model: other", "counted.sql"),
        ("from silver", "fromm silver", "fromm"),
        (QUERY, "delete from silver.things", "SELECT"),
        (QUERY, "select 'x' as name, 1 as n from read_csv('/etc/passwd')", "read_csv"),
    ],
)
def test_models(fails: Fails, make_project: MakeProject, old: str, new: str, what: str) -> None:
    folder = make_project()
    edit(folder / "models" / "counted.sql", old, new)
    error = fails("up", cwd=folder)
    assert error["error"] == "ModelError"
    assert what in error["what"]
    assert error["position"].startswith("counted.sql:"), error


# Folders -------------------------------------------------------------------------------------------------


def test_init_into_a_folder_with_files(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mine.txt").write_text("kept")
    error = fails("init", "shop", cwd=tmp_path, alone=True)
    assert "shop is not an empty folder" in error["what"]
    assert [file.name for file in (tmp_path / "shop").iterdir()] == ["mine.txt"]


def test_init_where_nothing_can_be_made(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in fails("init", "file/shop", cwd=tmp_path)["what"]


def test_adopt_into_a_project(fails: Fails, make_project: MakeProject, database: str) -> None:
    folder = make_project()
    before = (folder / "entities.py").read_text()
    error = fails("adopt", database, "--into", str(folder), cwd=folder)
    assert "is a project already" in error["what"]
    assert (folder / "entities.py").read_text() == before


def test_adopt_into_a_folder_with_files(fails: Fails, tmp_path: Path, database: str) -> None:
    (tmp_path / "entities.py").write_text("mine")
    error = fails("adopt", database, "--into", ".", cwd=tmp_path)
    assert "is not an empty folder" in error["what"]
    assert (tmp_path / "entities.py").read_text() == "mine"


def test_adopt_where_nothing_can_be_made(fails: Fails, tmp_path: Path, database: str) -> None:
    assert "cannot be written" in fails("adopt", database, "--into", "/proc/adopted", cwd=tmp_path)["what"]


@pytest.mark.parametrize("models", ["modles", "entities.py"])
def test_no_models_folder(fails: Fails, make_project: MakeProject, models: str) -> None:
    """A name that leads nowhere must not mean: no models, all is well."""
    error = fails("apply", cwd=make_project(more=f"[project]\nmodels = '{models}'"))
    assert "[project] models" in error["what"]
    assert "is no folder" in error["what"]


def test_adopt_without_a_database(fails: Fails, tmp_path: Path) -> None:
    assert "bitvelocity adopt postgresql://" in fails("adopt", cwd=tmp_path, env={"BITVELOCITY_DSN": ""})["remedy"]


def test_adopt_what_is_no_dsn(fails: Fails, tmp_path: Path) -> None:
    error = fails("adopt", f"postgresql//ada:{SECRET}@somewhere", cwd=tmp_path, alone=True)
    assert "DSN" in error["what"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["in the way", "in the way/lake", "/proc/lake"])
def test_lake_that_cannot_be_written(fails: Fails, make_project: MakeProject, database: str, path: str) -> None:
    folder = make_project(database, more=f"[lake]\npath = '{path}'")
    (folder / "in the way").write_text("kept")
    error = fails("up", cwd=folder)
    assert error["error"] == "LakeError"
    assert str(folder / path) in error["what"]
    assert "[lake] path" in error["remedy"]
    assert (folder / "in the way").read_text() == "kept"


def test_lake_has_one_writer(fails: Fails, make_project: MakeProject, database: str, up: Up) -> None:
    folder = make_project(database)
    process, _ = up(folder)
    error = fails("up", cwd=folder, alone=True)
    assert str(process.pid) in error["what"]
    assert process.poll() is None, "the first one goes on"


def test_what_is_bound_to_fail_is_told_before_a_server_is_started(fails: Fails, make_project: MakeProject) -> None:
    folder = make_project(more='[streams]\nrun = ["kafka"]\n[[routes]]\nname = "r"\nentities = ["thing"]')
    error = fails("up", cwd=folder)
    assert "There is no entity thing" in error["what"]
    assert not (folder / ".bitvelocity").exists()


SILENT = """#!/bin/sh
exec sleep 600
"""


def test_ctrl_c_while_a_server_is_waited_for(make_project: MakeProject, tmp_path: Path) -> None:
    folder, java = make_project(more='[streams]\nrun = ["kafka"]'), tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(SILENT)
    java.chmod(0o755)
    (tmp_path / "kafka-server-4.jar").touch()
    data = folder / ".bitvelocity" / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").touch()
    env = {**os.environ, "JAVA_HOME": str(tmp_path), "BV_KAFKA_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "bitvelocity", "up"]
    with subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        pid = data.parent / "pid"
        assert wait_for(lambda: pid.exists() and pid.read_text(), up)
        server = int(pid.read_text())
        up.send_signal(signal.SIGINT)
        out, err = up.communicate(timeout=30)
    assert (up.returncode, out.startswith("Stopped before it was up."), "Traceback" in err) == (0, True, False), f"{out}{err}"
    assert not pid.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def wait_for(seen: Callable[[], object], process: subprocess.Popen[str]) -> bool:
    """It comes while the process runs."""
    while process.poll() is None:
        if seen():
            return True
        time.sleep(0.02)
    return False


# The database --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["up", "apply", "reconcile"])
@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"host": "127.0.0.1", "port": "1"}, "refused"),
        ({"host": "no-such-host.invalid"}, "no-such-host.invalid"),
        ({"password": SECRET, "passfile": "nowhere"}, "password authentication failed"),
        ({"dbname": "no_such_database"}, "no_such_database"),
        ({"user": "nobody_here", "password": SECRET, "passfile": "nowhere"}, "nobody_here"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_dsn(
    fails: Fails, make_project: MakeProject, database: str, command: str, wrong: dict[str, str], what: str
) -> None:
    folder = make_project("${THE_DSN}")
    error = fails(command, cwd=folder, env={"THE_DSN": conninfo.make_conninfo(database, **wrong)})
    assert error["error"] == "NoConnection"
    assert what in error["what"]
    assert not (folder / ".bitvelocity" / "lake").exists()


@pytest.fixture
def clerk(database: str) -> Iterator[str]:
    """The DSN of a login that owns the database, but may not replicate."""
    with connect(database, autocommit=True) as admin:
        name = f"clerk_{admin.info.dbname}"
        admin.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(name), SECRET))
        admin.execute(sql.SQL("alter database {} owner to {}").format(sql.Identifier(admin.info.dbname), sql.Identifier(name)))
        admin.execute(sql.SQL("alter schema public owner to {}").format(sql.Identifier(name)))
        yield conninfo.make_conninfo(database, user=name, password=SECRET, passfile="nowhere")
        admin.execute(sql.SQL("reassign owned by {} to current_user").format(sql.Identifier(name)))
        admin.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_no_replication_privilege(fails: Fails, make_project: MakeProject, clerk: str) -> None:
    folder = make_project("${THE_DSN}")
    error = fails("up", cwd=folder, env={"THE_DSN": clerk}, alone=True)
    assert error["error"] == "MissingPrivilege"
    assert "may not read the change stream" in error["what"]
    assert "replication" in error["remedy"]


def test_wal_level_replica(fails: Fails, make_project: MakeProject, open_folder: Path, bitvelocity: Run) -> None:
    settings = {"fsync": "off", "shared_buffers": "16MB", "wal_level": "replica"}
    with EmbeddedPostgres(open_folder / "pg", settings=settings) as server:
        folder = make_project(server.dsn)
        error = fails("up", cwd=folder)
        assert error["error"] == "WalLevel"
        assert "wal_level" in error["what"]
        assert "wal_level = logical" in error["remedy"]
        said = bitvelocity("doctor", cwd=folder)
        assert said.returncode == 1
        assert "MEND  wal_level" in said.stdout
        assert bitvelocity("status", cwd=folder).returncode == 0


def test_slot_gone(fails: Fails, make_project: MakeProject, database: str, up: Up, bitvelocity: Run) -> None:
    folder = make_project(database)
    slot = open_project(folder).settings.capture.slot
    process, _ = up(folder)
    process.terminate()
    process.wait()
    with connect(database, autocommit=True) as admin:
        admin.execute("insert into things values (1, 'never seen')")
        admin.execute("select pg_drop_replication_slot(%s)", [slot])
    mark = (folder / ".bitvelocity" / "lake" / "watermark.json").read_text()
    error = fails("up", cwd=folder, alone=True)
    assert error["error"] == "SlotGone"
    assert slot in error["what"]
    assert "bitvelocity recover" in error["remedy"]
    assert (folder / ".bitvelocity" / "lake" / "watermark.json").read_text() == mark
    with connect(database) as admin:
        found = admin.execute("select 1 from pg_replication_slots where slot_name = %s", [slot]).fetchone()
    assert found is None, "no new slot hides the loss"
    assert bitvelocity("doctor", cwd=folder).returncode == 1
    told = bitvelocity("status", cwd=folder).stdout
    assert f"{slot}: missing" in told
    assert "level with the source" not in told


def test_port_taken(fails: Fails, make_project: MakeProject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder = make_project()
        settings = (folder / "bitvelocity.toml").read_text()
        (folder / "bitvelocity.toml").write_text(settings.replace("[database]", f"[database]\nport = {port}"))
        error = fails("up", cwd=folder, alone=True)
    assert error["error"] == "PortTaken"
    assert f"Port {port}" in error["what"]
    assert "[database] port" in error["remedy"]


def test_entity_and_database_disagree(fails: Fails, make_project: MakeProject, database: str) -> None:
    folder = make_project(database)
    project = open_project(folder)
    prepare(project, database)
    with connect(database, autocommit=True) as admin:
        admin.execute("insert into things values (1, 'kept')")
        admin.execute("alter table things alter column name type bytea using name::bytea")
    for command in ("apply", "up"):
        error = fails(command, cwd=folder, alone=True)
        assert error["error"] == "Disagreement"
        assert error["entity"] == "things"
        assert "name" in error["what"]
    with connect(database) as admin:
        assert admin.execute("select name from things").fetchone() == (b"kept",)


def test_adopted_table_is_gone(fails: Fails, make_project: MakeProject, database: str) -> None:
    folder = make_project(database)
    edit(folder / "entities.py", "audit=False", "audit=False, managed=False")
    error = fails("up", cwd=folder, alone=True)
    assert "public.things is not in the database" in error["what"]
    assert error["entity"] == "things"


# Questions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("query", "select 1"), ("trace", "things", "1")], ids=lambda words: str(words[0]))
def test_nothing_is_there_yet(fails: Fails, make_project: MakeProject, words: tuple[str, ...]) -> None:
    error = fails(*words, cwd=make_project(), alone=True)
    assert "has nothing yet" in error["what"]
    assert "bitvelocity up" in error["remedy"]


@pytest.mark.parametrize(
    ("query", "what", "remedy"),
    [
        ("delete from silver.things", "DELETE", "Queries read"),
        ("create table gold.mine as select 1", "CREATE", "Queries read"),
        ("copy silver.things to 'mine.csv'", "COPY", "Queries read"),
        ("attach 'mine.duckdb'", "ATTACH", "Queries read"),
        ("select * from read_csv('/etc/passwd')", "/etc/passwd", "own tables"),
        ("select * from '/etc/passwd'", "/etc/passwd", "bitvelocity query"),
        ("select * from silver.thing", "Did you mean", "information_schema"),
        ("select nmae from silver.things", "nmae", "Correct the SQL"),
        ("selct 1", "selct", "Correct the SQL"),
        ("select 1; select 2", "One statement at a time", "Split it"),
        ("explain analyze copy (select 1) to 'mine.csv'", "COPY", "Queries read"),
        ("explain (analyze) delete from silver.things", "DELETE", "Queries read"),
        ("", "nothing to run", "SELECT"),
    ],
)
def test_queries(fails: Fails, asked: Path, query: str, what: str, remedy: str) -> None:
    error = fails("query", query, cwd=asked)
    assert error["error"] == "QueryError"
    assert what in error["what"]
    assert remedy in error["remedy"]


@pytest.mark.parametrize(
    ("words", "what", "remedy"),
    [
        (("thing", "1"), "no entity 'thing'", "things"),
        (("things", "4"), "has the key 4", "(id)"),
        (("things", "one"), "one", "key"),
        (("things", "1", "2"), "2 values for a key of 1", "(id)"),
    ],
)
def test_traces(fails: Fails, asked: Path, words: tuple[str, ...], what: str, remedy: str) -> None:
    error = fails("trace", *words, cwd=asked)
    assert what in error["what"]
    assert remedy in error["remedy"]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
