"""A pipeline that starts again says what it has, though nothing new comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bitvelocity.flow import Pipeline, Project, open_reader, prepare
from bitvelocity.flow.golden import BEHIND_SECONDS
from bitvelocity.lakehouse import Watermark, publish, read_watermark
from bitvelocity.oltp import connect
from bitvelocity.serving import ask


def run(project: Project, dsn: str) -> Watermark:
    with Pipeline(project) as pipeline:
        pipeline.connect(dsn)
        pipeline.start()
    mark = read_watermark(project.lake)
    assert mark is not None
    return mark


def test_gold_that_a_kill_left_behind_is_level_and_in_sight_after_the_next_start(
    make_project: Callable[[str], Project], database: str
) -> None:
    project = make_project(database)
    prepare(project, database)
    with connect(database, autocommit=True) as connection:
        connection.execute("insert into things values (1, 'a'), (2, 'a')")
    whole = run(project, database)
    assert whole.gold_position == whole.position
    behind = replace(whole, gold_position=whole.position - 1, tables={**whole.tables, "gold/counted": 0})
    publish(project.lake, behind, sync=False)  # as a backlog publishes it before gold has followed
    again = run(project, database)
    assert again.gold_position == again.position == whole.position
    assert again.tables["gold/counted"] == whole.tables["gold/counted"]
    with open_reader(project) as reader:
        assert ask(reader, "select n from gold.counted").as_dicts() == [{"n": 2}]


def test_a_start_with_nothing_to_say_publishes_nothing(make_project: Callable[[str], Project], database: str) -> None:
    project = make_project(database)
    prepare(project, database)
    assert run(project, database) == run(project, database)


def test_markers_that_come_late_move_gold_too(make_project: Callable[[str], Project], database: str) -> None:
    """They bring no rows, so nothing waits for gold afterwards: it must be level with them at once."""
    project = make_project(database)
    prepare(project, database)
    before = run(project, database)
    with connect(database, autocommit=True) as connection:
        connection.execute("create table beside (id int)")  # the event trigger tells of it
        connection.execute("select pg_sleep(%s)", [BEHIND_SECONDS + 0.1])  # old enough for a backlog
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        while pipeline.watermark is None or pipeline.watermark.position == before.position:
            pipeline.step(0.2)
        assert pipeline.watermark.gold_position == pipeline.watermark.position
