"""Values that the server holds back (unchanged TOAST) and every REPLICA IDENTITY: silver is the source all the same.

A large value that an UPDATE leaves alone is not sent. It comes out of the old image, of an earlier row of the batch, of
another batch, of the lake, after a change of key, and after a kill.
"""

from __future__ import annotations

import psycopg
import pytest

from bitvelocity.lakehouse import read_watermark

from .test_altered import Way, way

__all__ = ["way"]
pytestmark = [pytest.mark.every_postgres, pytest.mark.timeout(120)]
LARGE = "(select string_agg(md5(n::text || {seed}), '') from generate_series(1, 300) as n)"
TABLE = """
create table things (id int primary key, n int, u int not null unique, big text, more text[]);
alter table things alter column big set storage external, alter column more set storage external;
"""
IDENTITIES = {
    "default": "",
    "full": "alter table things replica identity full",
    "index": "alter table things replica identity using index things_u_key",
}


def large(seed: int) -> str:
    return LARGE.format(seed=seed)


def insert(id_: int, seed: int) -> str:
    return f"insert into things values ({id_}, 0, {id_} + 100, {large(seed)}, array[{large(seed + 1)}, 'x'])"


def begin(way: Way, identity: str) -> None:
    way.begin(TABLE + f"{insert(1, 1)}; {insert(2, 2)}; {IDENTITIES[identity]}")


def is_equal(way: Way) -> None:
    verdict = way.verdict()
    assert verdict.ok, verdict.as_dict()
    assert verdict.unfit == 0
    assert way.ask("select count(*) from silver.things where _absent is not null") == [(0,)]


def held_back(way: Way) -> int:
    return int(way.ask("select count(*) from bronze.things where _absent is not null")[0][0])


@pytest.mark.parametrize("identity", IDENTITIES)
def test_values_that_are_held_back(way: Way, identity: str) -> None:
    begin(way, identity)
    way.run(  # the value lies in the snapshot, then in the same batch
        "update things set n = 1 where id = 1",
        insert(3, 3),
        "update things set n = 2 where id = 3",
        f"update things set big = {large(9)} where id = 3",
        "update things set n = 3 where id = 3",
    )
    way.follow()
    is_equal(way)
    way.run("update things set n = n + 1")  # in the lake
    way.follow()
    is_equal(way)
    assert (held_back(way) > 0) == (identity != "full"), "only the whole old image has them"


@pytest.mark.parametrize("identity", IDENTITIES)
def test_held_back_after_a_change_of_key(way: Way, identity: str) -> None:
    begin(way, identity)
    way.run("update things set id = 10 where id = 1", "update things set n = 5 where id = 10", "update things set id = 11 where id = 10")
    way.follow()
    is_equal(way)
    way.run("delete from things where id = 2", "update things set id = 2, u = 102 where id = 11", "update things set n = 7 where id = 2")
    way.follow()
    is_equal(way)
    way.again()
    way.run("update things set id = id + 50, u = u + 50", "update things set n = 8")
    way.follow()
    is_equal(way)


@pytest.mark.parametrize("identity", IDENTITIES)
def test_held_back_after_a_kill(way: Way, identity: str) -> None:
    """Killed after bronze and silver were committed, and before the watermark was published: all comes again."""
    begin(way, identity)
    way.run("update things set n = 1", insert(3, 3), "update things set n = 2 where id = 3", "update things set id = 20 where id = 1")
    assert way.source
    mark = read_watermark(way.root)
    assert mark
    row = way.connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
    while row and way.source.seen < row[0]:
        for change_set in way.source.tail(0.05):
            for batch in change_set:
                way.lake.stage(batch)
            way.lake.commit(change_set.mark)
    way.close()
    way.open(start=mark.position)
    way.run("update things set n = 9")
    way.follow()
    is_equal(way)


def test_identity_changed_in_mid_stream(way: Way) -> None:
    begin(way, "default")
    for number, identity in enumerate(["full", "default", "full"]):
        way.run(
            f"update things set n = {number} where id = 1",
            f"alter table things replica identity {identity}",
            f"update things set n = {number} + 10",
            f"update things set id = id + 100, u = u + 1000 where id = {2 + 100 * number}",
        )
        way.run(f"update things set n = {number} + 20", insert(50 + number, number), f"delete from things where id = {49 + number}")
    way.follow()
    is_equal(way)
    assert way.changes()[0] == "replica identity is full, was default"
    assert way.said() == []


def test_identity_by_an_index_that_is_not_the_key(way: Way) -> None:
    """A delete sends the columns of that index only, so they are the key of the adopted entity."""
    begin(way, "index")
    assert way.spec.key == ("u",)
    way.run("delete from things where id = 1", "update things set id = 30 where id = 2")
    way.follow()
    assert way.ask("select id from silver.things order by id") == [(30,)]
    is_equal(way)


def test_identity_changed_to_an_index_in_mid_stream(way: Way) -> None:
    """The entity's key is not in what the stream sends any more: that is told, and mended by the other key, from bronze."""
    begin(way, "default")
    way.run(insert(3, 3), IDENTITIES["index"], "delete from things where id = 1", "update things set id = 30 where id = 2")
    way.follow()
    (said,) = way.said()
    assert said.startswith("public.things tells its rows apart by u, the entity by id: silver does not see deletes")
    assert way.again(declared=True) == ["its key was id and is u"]
    assert way.said() == []
    is_equal(way)


def test_identity_nothing_takes_inserts_only(way: Way) -> None:
    begin(way, "default")
    way.run("alter table things replica identity nothing", insert(3, 3))
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        way.run("update things set n = 0")
    way.follow()
    assert way.changes() == ["replica identity is nothing, was default"]
    is_equal(way)


