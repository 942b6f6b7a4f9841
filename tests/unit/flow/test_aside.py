"""Work in a thread of its own, and how long who asks for it waits."""

from __future__ import annotations

from threading import Event

import pytest

from bitvelocity.flow.aside import Aside


def test_who_asks_waits_a_little_only() -> None:
    aside, gate = Aside("of-a-test"), Event()
    assert not aside.do(gate.wait, 0.01)
    assert aside.busy
    gate.set()
    done: list[int] = []
    assert aside.do(lambda: done.append(1), 60)
    aside.close(lambda: done.append(2), 60)
    assert done == [1, 2]


def test_a_timeout_of_the_work_itself_is_raised() -> None:
    aside = Aside("of-a-test")

    def work() -> None:
        raise TimeoutError("far away")

    with pytest.raises(TimeoutError, match="far away"):
        aside.do(work, 60)
    aside.close(lambda: None, 60)
