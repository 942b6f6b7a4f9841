"""Readings of single tables beside the stream, as people ask for them and see them: from any process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..capture.snapshots import Order, Run, Verb, give_order, means, orders, read_book
from ..contracts import EntitySpec
from ..errors import CaptureError
from .beat import read_beat
from .foreign import check_database
from .project import Project

_MEANS = {"pause": "There is nothing to pause", "resume": "Nothing is paused", "stop": "Nothing that may be stopped is under way, and none failed"}


@dataclass(frozen=True, slots=True)
class Readings:
    """What is read, was read, or will be once `up` runs."""

    runs: tuple[Run, ...]
    orders: tuple[Order, ...]
    running: bool
    """A pipeline is there to carry orders out."""

    def as_dict(self) -> dict[str, Any]:
        orders = [{"verb": order.verb, "entity": order.entity, "where": order.where} for order in self.orders]
        return {"running": self.running, "runs": [run.as_dict() for run in self.runs], "orders": orders}


def show_readings(project: Project) -> Readings:
    """As they stand. Starts and changes nothing."""
    waiting = tuple(order for _, order in orders(project.lake))
    return Readings(read_book(project.lake).runs, waiting, read_beat(project) is not None)


def order_reading(project: Project, verb: Verb, name: str, where: str | None = None) -> EntitySpec:
    """Leave word for the pipeline that runs, or for the next one; refused when it could only come to nothing."""
    check_database(project, "A table is read again beside the stream of its database.")
    spec = project.spec(name)
    if spec is None:
        known = ", ".join(spec.name for spec in project.specs)
        raise CaptureError(f"There is no entity called {name!r}.", remedy=f"Known: {known or 'none'}.")
    if verb == "start" and not spec.key:
        raise CaptureError(
            "A table without a key cannot be read again beside the stream: no row of it can be told from another.",
            entity=spec.name,
            safe="Nothing was changed.",
            remedy="Stop bitvelocity up and run bitvelocity recover --force: it counts equal rows under the snapshot of a new slot. "
            "Or give the entity a key (a primary key, or unique columns that are never NULL), then ask again.",
            code="NoKey",
        )
    order = Order(verb=verb, entity=spec.name, where=where, asked_at=time.time())
    if verb != "start":
        _check(project, order)
    give_order(project.lake, order)
    return spec


def _check(project: Project, order: Order) -> None:
    seen = show_readings(project)
    if any(earlier.entity == order.entity for earlier in seen.orders):
        return  # what is to come cannot be judged yet
    if any(means(order, run) for run in seen.runs if run.entity == order.entity):
        return
    raise CaptureError(
        f"{_MEANS[order.verb]}.", entity=order.entity, safe="Nothing was changed.", remedy="Look at bitvelocity snapshot status."
    )
