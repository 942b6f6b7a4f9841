"""Whether the source's history is the one that the lake was filled from."""

from __future__ import annotations

import pytest

from bitvelocity.capture import Identity, check_history, identify, write_past
from bitvelocity.errors import CaptureError, ConnectionLostError

NOW = Identity("7", 3, 900, left={1: 300, 2: 600})
"""Timeline 3 came from 2 at 600, and that from 1 at 300."""


@pytest.mark.parametrize(
    ("position", "known"),
    [(900, None), (900, ("7", 3)), (599, ("7", 2)), (299, ("7", 1)), (-1, ("7", 9)), (899, ("8", 9))],
)
def test_one_history(position: int, known: tuple[str, int] | None) -> None:
    check_history(NOW, position, known)


@pytest.mark.parametrize(("position", "timeline"), [(600, 2), (300, 1), (5, 4)])
def test_commits_that_the_source_lost(position: int, timeline: int) -> None:
    with pytest.raises(CaptureError, match="does not know of commits") as caught:
        check_history(NOW, position, ("7", timeline))
    assert caught.value.code == "CommitsLost"
    assert "bitvelocity recover" in str(caught.value.remedy)


def test_a_standby_that_comes_later_is_waited_for() -> None:
    with pytest.raises(ConnectionLostError, match="still on timeline 1"):
        check_history(Identity("7", 1, 500, standby=True), 700, ("7", 2))


def test_a_server_writes_past_a_position(database: str) -> None:
    target = identify(database).end + (20 << 20)
    write_past(database, target)
    assert identify(database).end > target
    assert identify(database).left == {}
