"""kill -9 at every step's boundary, over everything that a transaction can be: nothing lost, doubled or invented.

One round of all workloads for each moment. The wider matrix (every moment with every workload by itself, also on other
servers) is `bench/crash_matrix.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.crash.arena import Arena, order_readings, streamed
from tests.crash.moments import (
    AGAIN,
    ALTERING,
    AT_WORK,
    CHANGING,
    COPYING,
    DOUBTING,
    GROWING,
    IN_SNAPSHOT,
    READING,
)
from tests.crash.victim import Moment

from bitvelocity.flow import open_reader
from bitvelocity.serving import ask

Shared = Callable[[], Arena]


@pytest.mark.parametrize("moment", AT_WORK, ids=str)
def test_killed_at_work(shared_arena: Shared, moment: Moment) -> None:
    arena = shared_arena()
    with arena.stained():
        arena.strike(moment, arena.workload.round)
        finding = arena.judge()
        assert finding.ok, str(finding)


@pytest.mark.parametrize("moment", GROWING, ids=str)
def test_killed_while_a_base_is_tended(shared_arena: Shared, moment: Moment) -> None:
    arena = shared_arena()
    with arena.stained():
        arena.strike(moment, arena.workload.grow)
        finding = arena.judge()
        assert finding.ok, str(finding)


@pytest.mark.parametrize(("first", "second"), AGAIN, ids=str)
def test_killed_again_while_it_comes_up(shared_arena: Shared, first: Moment, second: Moment) -> None:
    arena = shared_arena()
    with arena.stained():
        arena.strike(first, arena.workload.round)
        arena.strike_at_start(second, arena.workload.round)
        finding = arena.judge()
        assert finding.ok, str(finding)


@pytest.mark.parametrize("moments", DOUBTING, ids=lambda moments: " > ".join(map(str, moments)))
def test_killed_when_a_transaction_is_asked_for_again(shared_arena: Shared, moments: tuple[Moment, ...]) -> None:
    """Its rows have the context that its savepoint did not take with it, whoever asked for it and was killed."""
    arena, stay = shared_arena(), list[range]()
    with arena.stained():
        arena.strike(moments[0], lambda: stay.append(arena.workload.doubt()))
        for moment in moments[1:]:
            arena.strike_at_start(moment)
        finding = arena.judge()
        assert finding.ok, str(finding)
        assert [users_of(arena, ids) for ids in stay] == [{"outer": len(ids)} for ids in stay]


def users_of(arena: Arena, ids: range) -> dict[str | None, int]:
    """Whose the new rows of these ids are, and how many."""
    query = f"""select _operation_user as who, count(*) as n from bronze.items
        where operation_type = 'INSERT' and after_id::bigint between {ids.start} and {ids.stop - 1} group by all"""
    with open_reader(arena.project) as reader:
        return {row["who"]: row["n"] for row in ask(reader, query).as_dicts()}


@pytest.mark.parametrize("moment", ALTERING, ids=str)
def test_killed_when_a_table_was_altered(shared_arena: Shared, moment: Moment) -> None:
    arena = shared_arena()
    with arena.stained():
        arena.strike(moment, arena.workload.alter_and_go_on)
        finding = arena.judge()
        assert finding.ok, str(finding)


@pytest.mark.parametrize("moment", READING, ids=str)
def test_killed_while_tables_are_read_again(shared_arena: Shared, moment: Moment) -> None:
    arena = shared_arena()
    with arena.stained():
        arena.workload.round()
        arena.strike(moment, lambda: read_again(arena))
        finding = arena.judge()
        assert finding.ok, str(finding)


def read_again(arena: Arena) -> None:
    """Ask for tables to be read again beside the stream, and write meanwhile."""
    order_readings(arena.project)
    arena.workload.round()


@pytest.mark.parametrize("moment", COPYING, ids=str)
def test_killed_while_a_backlog_is_copied(copying_arena: Shared, moment: Moment) -> None:
    arena = copying_arena()
    with arena.stained():
        arena.strike(moment, arena.workload.round)
        finding = arena.judge()
        assert finding.ok, str(finding)


def test_the_server_streamed(shared_arena: Shared) -> None:
    """Without that, the matrix would not have reached transactions in progress."""
    arena = shared_arena()
    arena.workload.flood()
    assert arena.judge().ok
    assert streamed(arena) > 0


def test_killed_in_the_first_snapshot_until_it_succeeds(arena: Arena) -> None:
    """Each start before the first watermark begins anew, while applications write on."""
    arena.workload.round()
    arena.witness.begin()
    for moment in IN_SNAPSHOT:
        arena.strike_at_start(moment)
        arena.workload.round()
    finding = arena.judge()
    assert finding.ok, str(finding)
    arena.workload.round()
    assert arena.judge().ok


def test_every_step_is_in_the_matrix(arena: Arena) -> None:
    """A step that somebody adds must find its place here."""
    arena.begin()
    for _ in range(5):
        arena.workload.round()
        arena.judge()
    victim = arena.run()
    assert victim.stop() == 0
    passed = {step for steps in victim.heard("seen") for step in steps}
    again = [second for _, second in AGAIN]
    told = {moment.step for moment in (*AT_WORK, *GROWING, *ALTERING, *CHANGING, *COPYING, *READING, *IN_SNAPSHOT, *again)}
    assert sorted(passed - told) == [], "steps that no moment strikes at"
