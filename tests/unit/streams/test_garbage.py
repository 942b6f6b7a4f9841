"""The collector rests while anybody asks for it, and only then."""

from __future__ import annotations

import gc

import pytest

from bitvelocity.streams.garbage import collection_paused


def test_nested_pauses_end_with_the_last() -> None:
    assert gc.isenabled()
    with collection_paused():
        with pytest.raises(ValueError, match="inside"), collection_paused():
            raise ValueError("inside")
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
