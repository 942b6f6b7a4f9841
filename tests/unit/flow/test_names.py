"""Names of the folder are loaded when they are used, and are then what they say."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bitvelocity.flow as flow

LOAD = """
import sys, types
from importlib import import_module
flow = import_module("bitvelocity.flow")
names = sys.argv[1].split()
values = {name: getattr(flow, name) for name in names}
wrong = [name for name, value in values.items() if isinstance(value, types.ModuleType)]
sys.exit(f"modules, not what they hold: {wrong}" if wrong else 0)
"""


@pytest.mark.parametrize("names", [flow.__all__, flow.__all__[::-1]], ids=["in order", "backwards"])
def test_no_module_stands_where_a_name_should(names: list[str]) -> None:
    program = [sys.executable, "-c", LOAD, " ".join(names)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
