"""The audit context and savepoints: where PostgreSQL sends it in another place than it was given."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from .test_source import ORDERS, Stage, audit, fill, stack, stage, transaction

__all__ = ["stack", "stage"]
pytestmark = pytest.mark.every_postgres


@pytest.mark.parametrize("size", [3, 3000])
def test_a_context_at_the_end_of_a_savepoint_counts_from_the_next_row_on(stage: Stage, stack: ExitStack, size: int) -> None:
    """PostgreSQL sends a row first that follows such a message at once: they have the same LSN."""
    stage.run(ORDERS)
    stage.begin(stack, "orders")
    with transaction(stage.connection) as run:
        run(audit("ann"))
        run(fill(1, size))
        run("savepoint a")
        run(audit("eve"))
        run(fill(10_001, 10_000 + size))
        run(audit("bob"))
        run("release a")
        run(fill(20_001, 20_000 + size))
        run("savepoint b")
        run(audit("kim"))
        run("release b")
        run("delete from orders where id = 1")
    for name, source in stage.sources.items():
        stage.drain(source, stage.taken[name])
    for name in stage.sources:
        users = [row["_operation_user"] for row in stage.taken[name].changes()]
        assert users == ["ann"] * size + ["eve"] * size + ["bob"] * size + ["kim"]


@pytest.mark.parametrize("again", [False, True])
def test_a_context_given_in_a_savepoint_goes_with_it(stage: Stage, stack: ExitStack, again: bool) -> None:
    """Sent ahead, it comes under the id of the whole transaction: then that is asked for once more, whole."""
    stage.run(ORDERS)
    stage.begin(stack, "orders")
    with transaction(stage.connection) as run:
        run(audit("ann"))
        run(fill(4001, 4003))
        run("savepoint a")
        run(audit("eve"))
        run(fill(1, 3000))
        run("rollback to a")
        if again:
            run(audit("bob"))
        run(fill(5001, 8000))
    stage.run(fill(10_001, 10_010))
    with transaction(stage.connection) as run:
        run(audit("kim"))
        run(fill(20_001, 23_000))
    rows = stage.finish(key={"public.orders": ("id",)})
    after = "bob" if again else "ann"
    assert [row["_operation_user"] for row in rows] == ["ann"] * 3 + [after] * 3000 + [None] * 10 + ["kim"] * 3000
    assert stage.sources["streaming"].stats.streamed == (2 if again else 1), "what is sure is taken as it came"
