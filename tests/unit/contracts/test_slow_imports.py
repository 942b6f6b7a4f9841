"""Declaring entities loads no engine: `bitvelocity --help` and a user's file stay quick."""

import subprocess
import sys


def test_contracts_load_without_sqlalchemy_and_pyarrow() -> None:
    code = "import sys, bitvelocity.contracts; print(*(m for m in ('sqlalchemy', 'pyarrow', 'numpy') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
