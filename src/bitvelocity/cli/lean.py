"""Commands that take little: no pandas, and memory given back.

DuckDB and pyarrow import pandas wherever it is installed, only to ask whether a value is one of its frames: 0.4 s and
50 MB for each command. In a process of our own no value ever is.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("the bitvelocity command does without pandas", name=fullname)
        return None


def leave_pandas_out() -> None:
    """From now on this process finds no pandas. Only for processes that we own from start to end."""
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas())


ARENA_MAX = -8
"""glibc's M_ARENA_MAX, from malloc.h."""


def give_memory_back() -> None:
    """Two heaps for all threads, instead of eight a core that each keep what they once needed; one heap for Arrow too.

    For processes that run for long and have moments of need: a transaction of a million rows, a fold.
    """
    import pyarrow as pa

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc only
        mallopt(ARENA_MAX, 2)
    pa.set_memory_pool(pa.system_memory_pool())
