"""A pipeline that is killed at the n-th step it passes, as a program: folder, n, and until when it goes on.

`n` 0: never. `until`: `done` (no reading is open), or `level` (it has passed the end of the source's WAL).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bitvelocity.capture.snapshots import ranges, read_book
from bitvelocity.flow import Pipeline, first, open_project
from bitvelocity.oltp import connect

ranges.RANGE_BYTES = 24 << 10  # many chunks of a small table
first.PART_ROWS = 300

folder, left, what = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""


def fault(step: str) -> None:
    global left  # noqa: PLW0603
    if what and what not in step:
        return
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)


project = open_project(folder)
dsn = project.settings.database.dsn
with Pipeline(project, at=fault) as pipeline:
    pipeline.connect(dsn)
    pipeline.start()
    while any(run.open for run in read_book(project.lake).runs) or pipeline.watermark is None:
        pipeline.step(0.05)
    with connect(dsn) as connection:
        row = connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
    end = int(row[0]) if row else 0
    while max(pipeline.watermark.position, pipeline.watermark.seen) < end:
        pipeline.step(0.05)
    pipeline.finish()
os._exit(0)
