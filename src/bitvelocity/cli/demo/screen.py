"""What the demo shows: a bar that follows order lines through the layers, then the proof."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ...flow import Step

LINE_EVERY_SECONDS = 5.0
WIDTH = 100
FONTS_FROM_AFAR = re.compile(r"@font-face\s*{[^}]*}")
"""A picture that loads nothing from anywhere: the reader's own monospace font will do."""


@dataclass(slots=True)
class Flowed:
    """What the pipeline has done so far; the pipeline's thread writes it, the screen reads it."""

    changes: int = 0
    transactions: int = 0
    committed_at: int = 0
    gold: int = 0

    def note(self, step: Step) -> None:
        self.changes += step.mark.rows
        self.transactions += step.mark.transactions
        self.committed_at = step.mark.committed_at or self.committed_at
        self.gold += step.gold is not None


class Screen:
    """A terminal gets bars and colours, anything else plain lines; `quiet` gets nothing."""

    def __init__(self, *, quiet: bool, picture: Path | None) -> None:
        self._picture = picture
        width = WIDTH if picture else None
        self.console = Console(record=picture is not None, quiet=quiet and picture is None, width=width)
        self._began = time.monotonic()

    def step(self, text: str) -> None:
        """A step begins."""
        self.console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/]  {text}", highlight=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/]", highlight=False, soft_wrap=True)

    def line(self, text: str = "") -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, flowed: Flowed) -> Iterator[Bar]:
        """A bar for the order lines, with the lake's own count beside it."""
        bar = Bar(self, flowed, live=self.console.is_terminal and self._picture is None)
        with bar:
            yield bar

    def save(self) -> None:
        """Write the picture, when one was asked for."""
        if self._picture:
            self._picture.parent.mkdir(parents=True, exist_ok=True)
            picture = self.console.export_svg(title="bitvelocity demo")
            self._picture.write_text(FONTS_FROM_AFAR.sub("", picture), encoding="utf-8")


class Bar:
    """How many order lines are written, and how far the lake has followed."""

    def __init__(self, screen: Screen, flowed: Flowed, *, live: bool) -> None:
        self._screen, self._flowed, self._live = screen, flowed, live
        self._said = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} lines"),
            TextColumn("{task.fields[lake]}"),
            TimeElapsedColumn(),
            console=screen.console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=1, lake="")

    def __enter__(self) -> Bar:
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def update(self, what: str, lines: int, total: int) -> None:
        """Show where the shop's calendar and the lake stand."""
        lake = f"{self._flowed.changes:,} changes in the lake"
        if self._live:
            self._progress.update(self._task, description=what, completed=lines, total=total, lake=lake)
        elif time.monotonic() - self._said > LINE_EVERY_SECONDS:
            self._said = time.monotonic()
            self._screen.step(f"{what}: {lines:,} of {total:,} lines written, {lake}")
