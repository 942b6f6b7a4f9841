"""Tables that are altered while they are captured and written to: silver is the source again, and nobody had to ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.shop import ENTITIES, in_state, make_shop, one, proved, running, until, written_to

from bitvelocity.capture.snapshots import read_book
from bitvelocity.flow import Pipeline, Project, open_project, order_reading, renew_silver, status
from bitvelocity.oltp import connect

pytestmark = pytest.mark.every_postgres

DRAWN = "add column drawn bigint not null default (random() * 1000)::int"
WORD = "add column word text default 'filled'"
UPPER = "alter column name type text using upper(name)"
LONGER = "alter column large type varchar(5000) using 'u' || large"


@pytest.fixture
def shop(open_folder: Path, database: str) -> Project:
    return make_shop(open_folder / "shop", database)


def declare(project: Project, **columns: str) -> Project:
    """The entity knows more columns than its table has yet."""
    more = "".join(f"    {name}: {kind} | None\n" for name, kind in columns.items())
    (project.root / "entities.py").write_text(ENTITIES + more)
    return open_project(project.root)


def alter(dsn: str, *actions: str) -> None:
    with connect(dsn, autocommit=True) as connection:
        for action in actions:
            connection.execute(f"alter table things {action}")


def drop_triggers(dsn: str) -> None:
    """As in a database where the role may not make them."""
    with connect(dsn, autocommit=True) as connection:
        connection.execute("drop event trigger bv_ddl")
        connection.execute("drop event trigger bv_rewrite")


def readings(project: Project) -> list[tuple[str, ...]]:
    return [run.columns for run in read_book(project.lake).runs if run.kind == "altered"]


def test_values_that_an_alter_wrote_come_by_themselves(shop: Project) -> None:
    """While others go on writing; nobody gives a command."""
    shop, dsn = declare(shop, drawn="int", word="str"), shop.settings.database.dsn
    with running(shop) as check, written_to(dsn):
        alter(dsn, DRAWN, WORD)
        proved(shop, check)
        assert set(readings(shop)) == {("drawn",), ("word",)}
        alter(dsn, UPPER)
        proved(shop, check)
        assert readings(shop)[2:] == [()]
        assert status(shop).notes == ()


def test_a_quiet_table_is_healed_too_and_only_of_what_was_filled(shop: Project) -> None:
    shop, dsn = declare(shop, drawn="int", plain="int"), shop.settings.database.dsn
    with running(shop) as check, connect(dsn, autocommit=True) as connection:
        alter(dsn, "add column plain bigint", "alter name set default 'x'", "alter large set storage external", DRAWN)
        proved(shop, check)
        said = {run.columns: run.rows for run in read_book(shop.lake).runs}
        assert said == {("plain",): 0, ("drawn",): 3000}
        if connection.info.server_version < 180_000:
            return
        connection.execute("alter publication bitvelocity set (publish_generated_columns = stored)")
        alter(dsn, "add column total bigint generated always as (id * 2) stored")
    shop = declare(shop, drawn="int", plain="int", total="int")
    with running(shop) as check:
        proved(shop, check)
        alter(dsn, "alter total set expression as (id * 3)")
        proved(shop, check)


def test_without_event_triggers_the_next_row_tells(shop: Project) -> None:
    """The catalog says whether a new column was filled; of a new type nobody can tell, so the table is read."""
    shop, dsn = declare(shop, plain="str", word="str"), shop.settings.database.dsn
    drop_triggers(dsn)
    with running(shop) as check:
        with written_to(dsn):
            alter(dsn, WORD, "rename column large to plain", "add column large text")
            until(lambda: len(readings(shop)) > 0, check)
        proved(shop, check)


def test_read_by_hand_where_nothing_is_done_by_itself(shop: Project) -> None:
    toml = shop.root / "bitvelocity.toml"
    toml.write_text(toml.read_text() + "heal_altered = false\n")
    shop, dsn = declare(shop, word="str"), shop.settings.database.dsn
    drop_triggers(dsn)
    with running(shop) as check:
        alter(dsn, WORD, LONGER)
        with connect(dsn, autocommit=True) as connection:
            connection.execute("update things set name = 'second' where id = 1")
        until(lambda: read_book(shop.lake).held, check)
        assert readings(shop) == []
        assert any("bitvelocity snapshot start things" in note for note in status(shop).notes)
        order_reading(shop, "start", "things")
        until(lambda: in_state(shop, "done"), check)
        proved(shop, check)
        assert read_book(shop.lake).held == ()
        assert len(read_book(shop.lake).runs) == 1, "the reading shows the new columns itself: that asks for no other one"


def test_what_the_entity_does_not_know_waits_until_it_does(shop: Project) -> None:
    dsn = shop.settings.database.dsn
    with running(shop) as check:
        alter(dsn, WORD)
        proved(shop, check)
        assert readings(shop) == []
        assert [tuple(each.columns) for each in read_book(shop.lake).held] == [("word",)]
    shop = declare(shop, word="str")
    renew_silver(shop)
    with running(shop) as check:
        proved(shop, check)
    assert readings(shop) == [("word",)]
    assert one(shop, "select count(*) as n from silver.things where word = 'filled'") == {"n": 3000}


class Cut(Exception):  # noqa: N818
    """The process is no more."""


def test_cut_off_before_it_was_taken_up(shop: Project) -> None:
    """The lake has it in the commit of the change, so the next start asks for the reading."""
    shop, dsn = declare(shop, word="str"), shop.settings.database.dsn
    with running(shop):
        pass
    alter(dsn, WORD)

    def cut(step: str) -> None:
        if step == "lake committed":
            raise Cut

    pipeline = Pipeline(shop, at=cut)
    try:
        pipeline.connect(dsn)
        pipeline.start()
        with pytest.raises(Cut):
            pipeline.step(30)
    finally:
        pipeline.close()
    assert readings(shop) == []
    with running(shop) as check:
        proved(shop, check)
    assert readings(shop) == [("word",)]
