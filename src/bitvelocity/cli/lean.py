"""Commands without pandas.

DuckDB and pyarrow import pandas wherever it is installed, only to ask whether a value is one of its frames: 0.4 s and
50 MB for each command. In a process of our own no value ever is.
"""

from __future__ import annotations

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
