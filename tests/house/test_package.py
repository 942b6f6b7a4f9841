"""What is built from a clone holds all that the code reads: SQL, templates, types."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the builder comes with the extra 'dev'")

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "bitvelocity"
DATA = [
    str(path.relative_to(ROOT / "src"))
    for path in PACKAGE.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts and ".bitvelocity" not in path.parts
]


def build(target: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.iterdir()
    return built


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        held = set(wheel.namelist())
    assert not (missing := sorted(set(DATA) - held)), missing
    assert not (strange := [name for name in held if not name.startswith("bitvelocity")]), strange


def test_the_source_archive_holds_what_a_clone_needs(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    needed = {f"src/{name}" for name in DATA} | {"dev.py", "constraints.txt", "LICENSE", "README.md", "pyproject.toml", ".ci/run"}
    assert not (missing := sorted(needed - held)), missing
