"""Small files that others read while we write them, and what makes them and their names outlive a power cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def replace_file(
    path: Path, content: str, *, sync: bool, at: Callable[[str], object] = lambda _: None
) -> None:
    """Give a file new content: whoever reads it sees the old one or the new one, whole.

    With `sync` the new one survives a power cut from here on. One process writes a file; `at` is told of both steps.
    """
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as out:
        out.write(content)
        out.flush()
        if sync:
            os.fsync(out.fileno())
    at("written")
    new.replace(path)
    at("replaced")
    if sync:
        sync_path(path.parent)


def sync_path(path: Path) -> None:
    """What stands in a file, or the names in a folder, survive a power cut from here on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
