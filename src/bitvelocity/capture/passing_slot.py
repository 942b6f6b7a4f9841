"""A source with a slot of its own, for somebody who only looks: the slot is gone when they leave."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from bitvelocity.errors import CaptureError

from .connection import Connection, connect, our_errors
from .failures import Place
from .slot import check_source, drop_slot, find_slot, wait_until_free
from .tuning import Tuning
from .wal import WalSource

_PREFIX = "bv_look_"
_LEFT_BEHIND = """
select slot_name from pg_replication_slots
where slot_name like %s and not active and database = current_database() and plugin = 'pgoutput'
"""
_PATIENCE = 10.0


@contextmanager
def passing_source(
    dsn: str, publication: str, *, messages: Sequence[str] = (), from_now: bool = False
) -> Iterator[WalSource]:
    """A source with detail whose slot lives as long as this block; `from_now`: without a snapshot.

    A process that is killed leaves its slot behind; the next one to look drops it, as it has no reader.
    """
    place = Place(f"{_PREFIX}{os.getpid()}_{os.urandom(3).hex()}", publication)
    with our_errors(place), closing(connect(dsn, place)) as connection:
        check_source(connection, place)
        _sweep(connection, publication)
        if from_now:
            connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [place.slot])
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bv-look-") as folder,
            WalSource(
                dsn,
                slot=place.slot,
                publication=publication,
                spill=Path(folder),
                has_position=from_now,
                messages=messages,
                tuning=Tuning(detail=True, readers=1),  # one table after the other, as Debezium reads
            ) as source,
        ):
            yield source
    finally:
        _forget(dsn, place)


def _sweep(connection: Connection, publication: str) -> None:
    for (name,) in connection.execute(_LEFT_BEHIND, [_PREFIX.replace("_", r"\_") + "%"]).fetchall():
        with suppress(CaptureError), our_errors(Place(name, publication)):  # another may have been faster
            drop_slot(connection, Place(name, publication))


def _forget(dsn: str, place: Place) -> None:
    with our_errors(place), closing(connect(dsn, place)) as connection:
        if find_slot(connection, place.slot) is not None:
            wait_until_free(connection, place, _PATIENCE)
            drop_slot(connection, place)
