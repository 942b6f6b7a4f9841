"""Work beside the caller: in order, errors where it is waited for, nothing left running."""

from __future__ import annotations

import pytest

from bitvelocity.lakehouse.beside import Beside


def broken() -> None:
    raise ValueError("broken")


def test_work_is_done_in_order_and_errors_come_when_waited_for() -> None:
    beside, done = Beside("test"), list[int]()
    beside.do(broken, small=False)
    with pytest.raises(ValueError, match="broken"):
        beside.wait()
    beside.do(broken, small=False)
    with pytest.raises(ValueError, match="broken"):
        beside.do(lambda: done.append(1), small=False)
    beside.wait()
    assert done == [1]
    beside.do(lambda: done.append(2), small=True)
    assert done == [1, 2]
    beside.close()


def test_no_more_than_a_few_pieces_wait_and_forgetting_waits_for_them() -> None:
    beside, done = Beside("test"), list[int]()
    for number in range(20):
        beside.do(lambda number=number: done.append(number), small=False)  # type: ignore[misc]
        assert len(done) >= number - 1
    beside.do(broken, small=False)
    beside.forget()
    assert done == list(range(20))
    beside.close()
