"""What readers see: one small file that names a position and the version of every table at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bitvelocity.changes import Passing, pass_by
from bitvelocity.errors import LakeError
from bitvelocity.files import replace_file

NAME = "watermark.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """A consistent state of the lake: all and only the transactions up to `position`, in all tables.

    - `position`: commit LSN; `resume`: what the source was or may be told to forget up to.
    - `seen`: how far the source was read, silence included: `position` is the last commit up to there.
    - `committed_at`, `published_at`: UTC microseconds since 1970, by the source's clock and by ours.
    - `tables`: table ("silver/orders_changes") -> Delta version.
    - `gold_position`: commit LSN that gold stands at; below `position` only while gold catches up.
    """

    position: int
    resume: int
    seen: int = 0
    committed_at: int = 0
    published_at: int = 0
    tables: Mapping[str, int] = field(default_factory=dict)
    gold_position: int = -1


def read_watermark(root: Path) -> Watermark | None:
    """The newest published watermark; None when nothing was ever published."""
    try:
        return Watermark(**json.loads((root / NAME).read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise LakeError(
            f"{root / NAME} is no watermark: {error}",
            safe="the tables of the lake are whole",
            remedy="restore the file from a backup of the lake, or rebuild the lake from the source",
        ) from error


def publish(root: Path, watermark: Watermark, *, sync: bool = True, at: Passing = pass_by) -> None:
    """Let readers see it: at once, as a whole, and (with `sync`) after a power cut too."""
    content = json.dumps(asdict(watermark), separators=(",", ":"))
    try:
        replace_file(root / NAME, content, sync=sync, at=lambda step: at(f"watermark {step}"))
    except OSError as error:
        raise LakeError(
            f"the watermark cannot be written in {root}: {error.strerror or error}",
            safe="readers see the last one; what the tables have above it is taken up at the next start",
            remedy="see that the disk has room and the folder is writable, then start again",
        ) from error
