"""What a process gives back."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from bitvelocity.processes import trim_memory

MB = 1 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_was_freed_between_things_that_stay_is_given_back() -> None:
    lumps = [bytes(2000) for _ in range(100_000)]
    stays = lumps[::1000]
    del lumps
    before = resident()
    trim_memory()
    assert before - resident() > 100 * MB
    assert len(stays) == 100
