"""A pipeline over Debezium's topics that is killed at the n-th step it passes, as a program: folder, n (0: never)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bitvelocity.flow import Pipeline, foreign, open_project

foreign._PIECE = foreign._ROWS = 7  # many sets of few records
folder, left = Path(sys.argv[1]), int(sys.argv[2])


def fault(_: str) -> None:
    global left  # noqa: PLW0603
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)


with Pipeline(open_project(folder), at=fault) as pipeline:
    pipeline.connect("")
    pipeline.start()
    while pipeline.step(0.0):
        pass
    pipeline.finish()
os._exit(0)
