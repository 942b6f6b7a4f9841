"""Fixtures that every folder of tests shares: one real PostgreSQL for the run, a fresh database for each test.

- `postgres`: the running `Server`. `database`: the DSN of an empty database on it, dropped afterwards with its slots.
- `--pg=all` repeats the tests over every PostgreSQL on this machine, `--pg=15` takes that one; by default the newest
  that the search finds. A test marked `every_postgres` runs over all of them in any case. Not repeated is what sees the
  server through oltp and capture only, which are: the folders in `CARRIED`, and tests marked `any_postgres`.
- `BV_PG_BINDIR=<folder>/bin` tests with those programs, of any version, and no others. What such a build lacks (contrib's
  extensions, pg_basebackup) skips its tests by name; with it in BITVELOCITY_NEEDS, as in CI, they fail instead.
- `open_folder`: a temp folder that the server's account may enter (pytest's own are closed to it when we are root).
- What tests write is written to memory where there is room (`MEMORY`): a database costs a twentieth of the CPU there. TMPDIR
  says otherwise.
- `bitvelocity`: the command line in a process of its own. `up`: `bitvelocity up`, ready, ended with the test.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import conninfo, sql
from tests.conformance.servers import needed
from tests.forked import python

from bitvelocity.oltp import Binaries, EmbeddedPostgres, Server, connect, find_binaries, installed

TEST_SETTINGS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_connections": "60"}
CARRIED = tuple(f"tests/unit/{folder}/" for folder in ("cli", "contracts", "flow", "serving", "streams", "templates"))
MEMORY, ROOM = Path("/dev/shm"), 6 << 30
"""What a whole run over every server holds at most, in its folders and outside of them, is less."""
_numbers = itertools.count(1)

settings.register_profile("house", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("judge", settings.get_profile("house"), derandomize=True, database=None)
# How long an example takes is the machine's business: a busy one is no fault. CI has to say whether a change is sound, so it
# tries the same examples each time; whoever develops searches at random.
settings.load_profile("judge" if os.environ.get("CI") else "house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pg", default="newest", help="PostgreSQL to test with: newest (default), all, or a major")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_postgres: runs over every PostgreSQL on this machine")
    config.addinivalue_line("markers", "any_postgres: the server only carries it, the newest that is tested will do")
    if "TMPDIR" not in os.environ and _has_room(MEMORY):  # workers, and all that they start, inherit it
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _has_room(folder: Path) -> bool:
    """A machine without it, or a container with little of it or that starts no program in it, keeps its files on the disk."""
    try:
        found = os.statvfs(folder)
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return False
    return min(found.f_bavail * found.f_frsize, free) > ROOM and not found.f_flag & os.ST_NOEXEC


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "postgres" not in metafunc.fixturenames:
        return
    found = _wanted(str(metafunc.config.getoption("--pg")))
    if metafunc.definition.get_closest_marker("every_postgres"):
        found = _wanted("all")
    elif _is_carried(metafunc.definition):
        found = found[:1]
    names = [f"pg{binaries.major}" for binaries in found]
    metafunc.parametrize("postgres", found, indirect=True, scope="session", ids=names)


def _is_carried(test: pytest.Item) -> bool:
    return test.nodeid.startswith(CARRIED) or test.get_closest_marker("any_postgres") is not None


@functools.cache  # each asks the programs anew, and some 500 tests want to know
def _wanted(choice: str) -> list[Binaries]:
    if choice == "newest":
        return [find_binaries()]
    majors = {binaries.major: binaries for binaries in reversed(installed())}
    if choice == "all":
        return sorted(majors.values(), key=lambda binaries: -binaries.major)
    if int(choice) not in majors:
        raise pytest.UsageError(f"--pg={choice}: found are {', '.join(map(str, sorted(majors)))}")
    return [majors[int(choice)]]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temp folder open to the server's account."""
    with _open_temp_folder() as folder:
        yield folder


@contextmanager
def _open_temp_folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bv-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One server for the whole run."""
    with (
        _open_temp_folder() as folder,
        EmbeddedPostgres(folder / "pg", binaries=request.param, settings=TEST_SETTINGS) as server,
    ):
        yield server


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    """DSN of an empty database; dropped after the test, its replication slots first."""
    with fresh_database(postgres) as dsn:
        yield dsn


@contextmanager
def fresh_database(postgres: Server) -> Iterator[str]:
    """An empty database, dropped afterwards with its replication slots."""
    name = f"test_{next(_numbers)}"
    with connect(postgres.dsn, autocommit=True) as admin:
        create_database(admin, name)
        yield conninfo.make_conninfo(postgres.dsn, dbname=name)
        drop_slots(postgres.dsn, name)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def create_database(admin: psycopg.Connection[Any], name: str) -> None:
    """An empty one, copied as files: as WAL, which is the server's own choice, it costs six times the CPU."""
    query = sql.SQL("create database {} template template0 strategy file_copy")
    admin.execute(query.format(sql.Identifier(name)))


def require_extensions(dsn: str, *names: str) -> None:
    """Skip, by name, what asks for extensions that this server's programs do not bring."""
    with connect(dsn, autocommit=True) as admin:
        lacking = admin.execute(
            "select string_agg(name, ', ') from unnest(%s::text[]) as wanted (name) "
            "where name not in (select name from pg_available_extensions)",
            [list(names)],
        ).fetchone()
    if lacking and lacking[0] and not needed("contrib"):
        pytest.skip(f"this PostgreSQL does not bring {lacking[0]}")


def drop_slots(dsn: str, database: str) -> None:
    """Drop the database's replication slots, ending whoever reads them."""
    with connect(dsn, autocommit=True) as admin:
        while True:
            slots = admin.execute(
                "select slot_name, active_pid from pg_replication_slots where database = %s", [database]
            ).fetchall()
            if not slots:
                return
            for slot, pid in slots:
                if pid is None:
                    admin.execute("select pg_drop_replication_slot(%s)", [slot])
                else:
                    admin.execute("select pg_terminate_backend(%s, 5000)", [pid])


@pytest.fixture(scope="session")
def bitvelocity() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end: `bitvelocity("query", "select 1", cwd=folder)`; `env` is added to ours."""

    def run(
        *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return python("-m", "bitvelocity", *words, cwd=cwd, env=env)

    return run


@pytest.fixture
def up() -> Iterator[Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]]:
    """Start `bitvelocity up` and wait until it is ready: `process, served = up(project)`."""
    started: list[subprocess.Popen[str]] = []

    def start(project: Path, *words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = [sys.executable, "-m", "bitvelocity", "up", "--project", str(project), "--json", *words]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        process = started[-1]
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"up did not come up: {process.stderr.read()}")
        return process, json.loads(line)

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)
