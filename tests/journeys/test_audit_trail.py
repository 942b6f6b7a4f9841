"""The audit trail beside the lake: each change once, over kills, late starts and troubles of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.conformance.shop import meanwhile
from tests.forked import Talking

from bitvelocity.capture import slot_health
from bitvelocity.errors import ConnectionLostError, DatabaseError
from bitvelocity.flow import Pipeline, Project, open_project, prepare, status
from bitvelocity.flow import followers as followers_module
from bitvelocity.oltp import adopt, audit, connect

Connection = psycopg.Connection[tuple[Any, ...]]
PLAIN = """
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class Counter(Entity, table="counters"{}):
    id: Annotated[int, Key()]
    n: int
"""
TRAILED = PLAIN.format(', audit_trail="cdc", audit_changed_only=True')
ROWS = 20


def project_in(folder: Path, dsn: str, entities: str) -> Project:
    (folder / "entities.py").write_text(entities)
    (folder / "bitvelocity.toml").write_text(f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "trail"\n')
    project = open_project(folder)
    prepare(project, dsn)
    return project


def fill(dsn: str) -> None:
    with connect(dsn) as connection, audit(connection, user="setup"):
        connection.execute("insert into counters (id, n) select n, 0 from generate_series(1, %s) as n", [ROWS])


def count_up(dsn: str, times: int) -> None:
    with connect(dsn, autocommit=True) as connection:
        for time in range(times):
            with audit(connection, user=f"user {time % 3}"):
                connection.execute("update counters set n = n + 1 where mod(id, 3) = %s", [time % 3])


def writing(dsn: str) -> AbstractContextManager[None]:
    """Somebody counts up all the while."""

    def work(stop: threading.Event) -> None:
        while not stop.is_set():
            count_up(dsn, 3)
            stop.wait(0.02)  # an application, not a flood: `up` must get its share of a small machine

    return meanwhile(work)


def number(dsn: str, query: str) -> int:
    with connect(dsn) as connection:
        return counted(connection, query)


def counted(connection: Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row
    return int(row[0])


TOLD = "select count(*) from counters_audit where operation_type = 'UPDATE'"
COUNTED = "select coalesce(sum(n), 0) from counters"
ONCE = "select count(distinct (id, new_values -> 'n')) from counters_audit where operation_type = 'UPDATE'"
IN_ORDER = """
select count(*) from (select (new_values -> 'n')::int as n, row_number() over (partition by id order by audit_id) as place
                        from counters_audit where operation_type = 'UPDATE') as t where n <> place"""


def assert_told_once(dsn: str) -> None:
    assert number(dsn, TOLD) == number(dsn, ONCE) == number(dsn, COUNTED)
    assert number(dsn, IN_ORDER) == 0


def run_until(pipeline: Pipeline, dsn: str, done: Callable[[], bool]) -> None:
    for _ in range(100):
        pipeline.step(0.1)
        if done():
            return
    pytest.fail(f"not done: {pipeline.trouble}, {slot_health(dsn, 'trail')}")


@contextmanager
def up(project: Project) -> Iterator[Talking]:
    """`bitvelocity up`, which is killed at the end of the block."""
    process = Talking("-m", "bitvelocity", "up", "--project", str(project.root), "--json", cwd=project.root)
    try:
        assert process.stdout.readline(), "it did not come up"
        yield process
    finally:
        process.end()


def test_killed_in_any_moment(database: str, open_folder: Path) -> None:
    project = project_in(open_folder, database, TRAILED)
    with Pipeline(project) as pipeline:  # what was written before capture began is in no trail
        pipeline.connect(database)
        pipeline.start()
    fill(database)
    with writing(database), connect(database, autocommit=True) as watcher:
        for kill in range(4):
            with up(project) as process:
                enough = counted(watcher, TOLD) + 30 + 17 * kill
                while counted(watcher, TOLD) < enough:
                    assert process.running
                    time.sleep(0.005)
    assert number(database, TOLD) < number(database, COUNTED), "some changes were on their way"
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        run_until(pipeline, database, lambda: number(database, TOLD) >= number(database, COUNTED))
    assert_told_once(database)


def test_a_new_trail_begins_with_the_lake(database: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers_module, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr("bitvelocity.lakehouse.replaying.SET_ROWS", 10)
    project = project_in(open_folder, database, PLAIN.format(""))
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        fill(database)
        count_up(database, 9)
        run_until(pipeline, database, lambda: pipeline.step(0.1) == 0 and slot_health(database, "trail").lag_bytes == 0)
    project = project_in(open_folder, database, TRAILED)
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        assert number(database, TOLD) < number(database, COUNTED), "it catches up in slices"
        count_up(database, 6)
        run_until(pipeline, database, lambda: number(database, TOLD) >= number(database, COUNTED))
        count_up(database, 3)
        run_until(pipeline, database, lambda: number(database, TOLD) >= number(database, COUNTED))
    assert_told_once(database)
    users = "select count(distinct operation_user) from counters_audit where correlation_id is not null"
    assert number(database, users) == 4


@contextmanager
def started(project: Project, dsn: str) -> Iterator[Pipeline]:
    with Pipeline(project) as pipeline:
        pipeline.connect(dsn)
        pipeline.start()
        yield pipeline


def told_all(pipeline: Pipeline, dsn: str) -> None:
    run_until(pipeline, dsn, lambda: number(dsn, TOLD) >= number(dsn, COUNTED))


def test_from_one_way_to_the_other_and_back_while_it_is_written_to(database: str, open_folder: Path) -> None:
    """What was committed before a trigger took over is brought in by the next `up`, and nothing twice."""
    with started(project_in(open_folder, database, TRAILED), database) as pipeline:
        fill(database)
        count_up(database, 6)
        told_all(pipeline, database)
    with writing(database):
        count_up(database, 3)
        project = project_in(open_folder, database, TRAILED.replace("cdc", "sync"))
        count_up(database, 3)
        assert number(database, TOLD) < number(database, COUNTED), "what the trail had not followed"
        assert [spec.name for spec in adopt(database).specs if spec.name.startswith("counter")] == ["counters"]
        with pytest.raises(DatabaseError, match="given to a trigger"):
            project_in(open_folder, database, TRAILED)
    project = project_in(open_folder, database, TRAILED.replace("cdc", "sync"))
    with started(project, database) as pipeline:
        told_all(pipeline, database)
        run_until(pipeline, database, lambda: number(database, "select count(*) from bv.trail_position") == 0)
        count_up(database, 3)
    with writing(database):
        project = project_in(open_folder, database, TRAILED)
        count_up(database, 3)
    with started(project, database) as pipeline:
        told_all(pipeline, database)
        (trail,) = status(project).trails
        assert (trail.entity, trail.behind, trail.since) == ("counters", 0, None)
    assert number(database, TOLD) == number(database, ONCE) == number(database, COUNTED)


def test_a_running_pipeline_hears_that_a_trail_is_its_own_again(database: str, open_folder: Path) -> None:
    """A trigger had it for a while, and its position was gone."""
    with started(project_in(open_folder, database, TRAILED), database) as pipeline:
        fill(database)
        count_up(database, 3)
        told_all(pipeline, database)
        project_in(open_folder, database, TRAILED.replace("cdc", "sync"))
        count_up(database, 3)
        run_until(pipeline, database, lambda: number(database, "select count(*) from bv.trail_position") == 0)
        assert pipeline.trouble is None, "it was told, and is over"
        project_in(open_folder, database, TRAILED)
        count_up(database, 3)
        told_all(pipeline, database)
        run_until(pipeline, database, lambda: pipeline.trouble is None)
    assert_told_once(database)


def test_status_tells_how_far_a_trail_is(database: str, open_folder: Path) -> None:
    project = project_in(open_folder, database, TRAILED)
    with Pipeline(project, sinks=()) as pipeline:  # the lake goes on without the trail
        pipeline.connect(database)
        pipeline.start()
        fill(database)
        run_until(pipeline, database, lambda: status(project).trails[0].behind == ROWS)
        assert status(project).trails[0].since is not None


def test_a_trail_in_trouble_stops_nothing_else(
    database: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers_module, "RETRY_SECONDS", 0.0)
    project = project_in(open_folder, database, TRAILED)
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        fill(database)
        count_up(database, 3)
        run_until(pipeline, database, lambda: number(database, TOLD) == number(database, COUNTED))
        with connect(database, autocommit=True) as admin:
            admin.execute("alter table counters_audit rename to hidden")
        count_up(database, 3)
        run_until(pipeline, database, lambda: pipeline.trouble is not None)
        assert "counters_audit" in str(pipeline.trouble)
        count_up(database, 3)
        here = number(database, "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        run_until(pipeline, database, lambda: pipeline.watermark is not None and pipeline.watermark.seen >= here)
        with connect(database, autocommit=True) as admin:
            admin.execute("alter table hidden rename to counters_audit")
        run_until(pipeline, database, lambda: pipeline.trouble is None)
        run_until(pipeline, database, lambda: number(database, TOLD) >= number(database, COUNTED))
    assert_told_once(database)


def test_a_lost_connection_is_for_the_supervisor(database: str, open_folder: Path) -> None:
    project = project_in(open_folder, database, TRAILED)
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        fill(database)
        count_up(database, 3)
        run_until(pipeline, database, lambda: number(database, TOLD) == number(database, COUNTED))
        end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'bitvelocity audit trail'"
        assert number(database, end) == 1
        count_up(database, 3)
        with pytest.raises(ConnectionLostError):
            run_until(pipeline, database, lambda: False)
        count_up(database, 3)
        pipeline.connect(database)
        run_until(pipeline, database, lambda: number(database, TOLD) >= number(database, COUNTED))
    assert_told_once(database)
