"""Dead letters as people see them and ask for them, from any process."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import BusError
from ..files import replace_file
from ..lakehouse import FOLLOWS, stored_letters
from .beat import read_beat
from .project import Project
from .redelivery import ORDERS, Verb, Wanted, key_text, meant


def find_letters(project: Project, topic: str = "", key: str = "", state: str = "parked") -> list[dict[str, Any]]:
    """The letters of a lake, oldest first."""
    found = list[dict[str, Any]]()
    for piece in stored_letters(project.lake):
        wanted = meant(piece, topic, key)
        if state:
            wanted &= np.asarray(pc.equal(piece["state"], pa.scalar(state)))
        found += piece.filter(pa.array(wanted)).to_pylist()
    return sorted(found, key=lambda row: (row["topic"], row["partition"], row["offset"]))


def _count(project: Project, wanted: Wanted) -> int:
    """Letters that an order means now."""
    found = 0
    for piece in stored_letters(project.lake, ["topic", "key", "state", "code"]):
        parked = np.asarray(pc.equal(piece["state"], pa.scalar("parked")))
        stay = wanted.verb == "drop" and np.asarray(pc.equal(piece["code"], pa.scalar(FOLLOWS)))
        found += int(np.count_nonzero(meant(piece, wanted.topic, wanted.key) & parked & ~np.asarray(stay)))
    return found


def order_letters(project: Project, verb: Verb, topic: str = "", key: str = "") -> tuple[int, bool]:
    """Leave word for the pipeline; how many letters it means now, and whether one runs."""
    wanted = Wanted(verb, topic, key)
    if not (count := _count(project, wanted)):
        raise BusError(
            "No parked record is meant.", safe="Nothing was changed.", remedy="Look at bitvelocity dead-letters list.",
            code="NoLetter",
        )  # fmt: skip
    folder = project.lake / ORDERS
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    replace_file(folder / name, json.dumps(asdict(wanted)), sync=True)
    return count, read_beat(project) is not None


__all__ = ["find_letters", "key_text", "order_letters"]
