"""Dead letters as people see them and ask for them, from any process."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict
from typing import Any

from ..errors import BusError
from ..files import replace_file
from ..lakehouse import FOLLOWS, stored_letters
from .beat import read_beat
from .project import Project
from .redelivery import ORDERS, Verb, Wanted, key_text, means


def find_letters(project: Project, topic: str = "", key: str = "", state: str = "parked") -> list[dict[str, Any]]:
    """The letters of a lake, oldest first."""
    rows = stored_letters(project.lake).to_pylist()
    found = [row for row in rows if means(row, topic, key) and state in ("", row["state"])]
    return sorted(found, key=lambda row: (row["topic"], row["partition"], row["offset"]))


def order_letters(project: Project, verb: Verb, topic: str = "", key: str = "") -> tuple[int, bool]:
    """Leave word for the pipeline; how many letters it means now, and whether one runs."""
    found = [row for row in find_letters(project, topic, key) if verb == "replay" or row["code"] != FOLLOWS]
    if not found:
        raise BusError(
            "No parked record is meant.", safe="Nothing was changed.", remedy="Look at bitvelocity dead-letters list.",
            code="NoLetter",
        )  # fmt: skip
    folder = project.lake / ORDERS
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    replace_file(folder / name, json.dumps(asdict(Wanted(verb, topic, key))), sync=True)
    return len(found), read_beat(project) is not None


__all__ = ["find_letters", "key_text", "order_letters"]
