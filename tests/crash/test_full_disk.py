"""No room: the pipeline stops with an error that says so, and goes on where it stood once there is room."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.arena import Arena


def test_no_room_to_spill(arena: Arena) -> None:
    """A transaction in progress is larger than a file may be."""
    arena.start(file_limit=60_000).wait_ready()
    arena.witness.since = -1
    arena.witness.begin()
    arena.workload.insert_many()
    assert arena.judge().ok
    victim = arena.run()
    arena.workload.flood()
    assert victim.await_end() == 1
    assert "cannot be kept in" in victim.heard("failed")[0]
    arena.victim = None
    finding = arena.judge()
    assert finding.ok, str(finding)


def test_no_room_in_the_lake(arena: Arena) -> None:
    """A file of a table is larger than a file may be."""
    arena.start(file_limit=9_000).wait_ready()
    arena.witness.since = -1
    arena.witness.begin()
    victim = arena.run()
    arena.workload.round()
    assert victim.await_end() == 1
    said = victim.heard("failed")[0]
    assert "see that the disk has room" in said or "Make room" in said, said
    arena.victim = None
    finding = arena.judge()
    assert finding.ok, str(finding)


@pytest.fixture
def small_disk(arena: Arena) -> Iterator[Path]:
    """The project's folder on a file system of its own, a few megabytes large."""
    folder = arena.project.settings.state_folder
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield folder
    finally:
        if arena.victim:
            arena.victim.kill()
            arena.victim = None
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up(arena: Arena, small_disk: Path) -> None:
    """Whatever write it is that fails first, the lake stays whole, and what failed comes again."""
    arena.begin()
    failures = 0
    for part in range(6):
        room = 300_000 + 100_000 * part  # so that each time another write is the first to find none
        (small_disk / "ballast").write_bytes(b"x" * max(0, shutil.disk_usage(small_disk).free - room))
        victim = arena.run()
        for _ in range(40):
            arena.workload.round()
            if arena.level_or_dead(victim):
                break
        if victim.await_end() is None:
            break
        failures += 1
        said = victim.heard("failed")[0]
        assert "No space left" in said, said
        assert "Remedy:" in said, said
        arena.victim = None
        (small_disk / "ballast").unlink()
        subprocess.run(["mount", "-o", f"remount,size={6 + 2 * part}m", str(small_disk)], check=True)
        finding = arena.judge()
        assert finding.ok, str(finding)
        arena.run().kill()
        arena.victim = None
    assert failures >= 3
