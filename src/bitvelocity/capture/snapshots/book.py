"""What is known of readings beside the stream, on disk: the book that `up` keeps, and the orders that others leave.

The book is written after the rows that it tells of are durable, so it can lag behind the lake and never lead: what it
does not know of is read again. Orders are files of their own, one each, so that two processes never write one file.
They are files, and not messages in the database, so that they can be given and seen without a connection, whether `up`
runs or not.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bitvelocity.changes import Unsent, unsent_from
from bitvelocity.errors import CaptureError
from bitvelocity.files import replace_file

from .runs import Run, run_from

NAME = "snapshots.json"
ORDERS = ".snapshots"
KEPT = 20
"""Runs at their end that are remembered."""
Verb = Literal["start", "pause", "resume", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person wants of the reading of one entity."""

    verb: Verb
    entity: str
    where: str | None = None
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Book:
    """All runs, oldest first, and where a first snapshot stands that is not at its end."""

    runs: tuple[Run, ...] = ()
    first: dict[str, Any] | None = None
    source: tuple[str, int] | None = None
    """System identifier and timeline of the server that the stream came from last."""
    recovering: bool = False
    """A recovery has begun and is not at its end: the slot is not to be trusted."""
    held: tuple[Unsent, ...] = ()
    """What ALTERs wrote and the stream did not send, and nobody reads yet."""
    altered_to: int = -1
    """Up to this position of the lake what ALTERs wrote was taken up."""


def read_book(lake: Path) -> Book:
    """The book beside a lake; empty when none was kept."""
    file = lake / NAME
    try:
        data = json.loads(file.read_bytes())
        source = data.get("source")
        return Book(
            tuple(map(run_from, data["runs"])),
            data.get("first"),
            (str(source[0]), int(source[1])) if source else None,
            bool(data.get("recovering")),
            tuple(map(unsent_from, data.get("held") or ())),
            int(data.get("altered_to", -1)),
        )
    except (FileNotFoundError, NotADirectoryError):  # whoever opens the lake says what stands in its way
        return Book()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CaptureError(
            f"{file} is no book of snapshots: {error}",
            safe="The tables of the lake are whole.",
            remedy="Move the file away; readings that were under way must then be asked for again.",
        ) from error


def write_book(lake: Path, book: Book, *, sync: bool = True) -> None:
    """Replace the book as a whole."""
    ended = [run.id for run in book.runs if _forgettable(run, book)][:-KEPT]
    runs = [run.as_dict() for run in book.runs if run.id not in ended]
    held = [each.as_dict() for each in book.held]
    rest = {"first": book.first, "source": book.source, "recovering": book.recovering, "held": held, "altered_to": book.altered_to}
    replace_file(lake / NAME, json.dumps({"runs": runs, **rest}, separators=(",", ":")), sync=sync)


def _forgettable(run: Run, book: Book) -> bool:
    """It is at its end, and nothing waits for it: a new table that failed still does, and so does a first snapshot."""
    waits = (run.kind == "joins" and run.state != "done") or (run.kind == "first" and book.first is not None)
    return not run.open and not waits


def give_order(lake: Path, order: Order) -> None:
    """Leave an order for the process that runs, or will run, the pipeline."""
    folder = lake / ORDERS
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json", json.dumps(asdict(order)), sync=True)


def orders(lake: Path) -> Iterator[tuple[Path, Order]]:
    """The orders that wait, oldest first. Whoever has carried one out deletes its file."""
    for file in sorted((lake / ORDERS).glob("[0-9]*.json")):
        try:
            order = Order(**json.loads(file.read_bytes()))
        except FileNotFoundError:  # carried out meanwhile
            continue
        except (ValueError, TypeError):
            file.unlink(missing_ok=True)  # half a file of a process that was killed
            continue
        yield file, order


def changed(runs: Sequence[Run], run: Run) -> tuple[Run, ...]:
    """The runs with one of them replaced, or added."""
    if all(one.id != run.id for one in runs):
        return (*runs, run)
    return tuple(run if one.id == run.id else one for one in runs)


def means(order: Order, run: Run) -> bool:
    """Whether an order means this run of its entity. Readings that readers wait for can be paused, but not stopped.

    One that failed is stopped as one that is under way: it is not told any more.
    """
    match order.verb:
        case "start":
            return run.open and run.where == order.where and not run.columns
        case "pause":
            return run.open and run.state != "paused"
        case "resume":
            return run.state in ("paused", "failed")
        case _:
            return (run.open or run.state == "failed") and run.kind in ("again", "altered")
