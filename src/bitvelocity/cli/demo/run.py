"""Runs the demo from an empty folder to the proof."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import SettingsError
from ...flow import (
    Database,
    Project,
    Verdict,
    flowing,
    open_project,
    prepare,
    prove,
    source_database,
    wait_until,
)
from ...settings import FILE_NAME
from ...templates import copy_project
from .closing import show_closing
from .screen import Bar, Flowed, Screen
from .writer import Shop, Written


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the command line asked for; `lines` None is the whole year."""

    folder: Path
    lines: int | None
    synthetic: bool = False
    fresh: bool = False
    picture: Path | None = None
    quiet: bool = False


def run_demo(options: DemoOptions) -> dict[str, Any]:
    """Replay, follow, prove, explain; returns the figures of the run."""
    began = time.monotonic()
    screen = Screen(quiet=options.quiet, picture=options.picture)
    project = _project(options, screen)
    with source_database(project) as database:
        if database.server:
            screen.step(f"PostgreSQL {database.server.version} runs on port {database.server.port}")
        prepare(project, database.dsn)
        screen.step(f"Made {len(project.specs)} tables with audit columns, indexes and a publication")
        flowed = Flowed()
        with flowing(project, database, flowed.note) as check:
            wait_until(project, 0, check)  # capture runs before the first order is written
            written = _replay(database, options, screen, flowed)
            verdict = prove(project, database, check)
        seconds = time.monotonic() - began
        show_closing(screen, project, database, verdict=verdict, written=written)
    screen.line(f"\n{written.lines:,} order lines, {flowed.changes:,} changes, {seconds:.0f} s in all.")
    screen.save()
    return _summary(project, written, verdict, flowed=flowed, seconds=seconds)


def _project(options: DemoOptions, screen: Screen) -> Project:
    folder = options.folder
    if options.fresh and folder.exists():
        _forget(folder)
    if (folder / FILE_NAME).exists():
        screen.step(f"Going on with {folder}")
    else:
        copy_project("commerce", folder)
        screen.step(f"Made the commerce project in {folder}")
    return open_project(folder)


def _forget(folder: Path) -> None:
    """Remove an earlier demo, and nothing that is not one."""
    if not (folder / FILE_NAME).exists():
        raise SettingsError(
            f"{folder} is no project, so --fresh does not remove it.", remedy="Name another folder with --into."
        )
    project = open_project(folder)
    data = project.settings.state_folder / "pg"
    for link in data.glob("*"):
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
    shutil.rmtree(folder)


def _replay(database: Database, options: DemoOptions, screen: Screen, flowed: Flowed) -> Written:
    shop = Shop(database.dsn, options.lines, synthetic=options.synthetic)
    shop.start()
    began = time.monotonic()
    try:
        with screen.progress(flowed) as bar:
            written = _follow(shop, bar, screen)
    finally:
        shop.stop()
    seconds = time.monotonic() - began
    screen.step(f"Replayed {written.lines:,} order lines of {written.orders:,} orders in {seconds:.0f} s")
    return written


def _follow(shop: Shop, bar: Bar, screen: Screen) -> Written:
    what, lines, total = "reading the data", 0, 1
    for event in shop.events():
        match event:
            case Written():
                return event
            case str():
                screen.step(f"Replaying {event} as a shop's application writes it; the lake follows")
            case None:
                pass
            case progress:
                what = f"{progress.day:%d %b %Y}" if progress.phase == "orders" else progress.phase
                lines, total = progress.lines, progress.of_lines
        bar.update(what, lines, total)
    raise AssertionError("the shop's events end with Written")


def _summary(
    project: Project, written: Written, verdict: Verdict, *, flowed: Flowed, seconds: float
) -> dict[str, Any]:
    return {
        "ok": verdict.ok,
        "folder": project.root,
        "source": written.source,
        "order_lines": written.lines,
        "orders": written.orders,
        "changes": flowed.changes,
        "transactions": flowed.transactions,
        "seconds": round(seconds, 1),
        "reconcile": verdict.as_dict(),
        "corrected_order": written.corrected,
    }
