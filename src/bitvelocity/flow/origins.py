"""What feeds the lake: the source itself, or a bus; and the way from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from ..capture import WalSource
from ..changes import ChangeSet, Passing, Twin, pass_by
from ..lakehouse import Lake
from .capturing import open_wal
from .carrying import BusOrigin, came_over_a_bus
from .foreign import DebeziumOrigin, check_filled_by
from .project import Project


class Origin(Protocol):
    """A `changes.Source` that says how far it is."""

    @property
    def seen(self) -> int: ...

    @property
    def streamed(self) -> int:
        """Large transactions that came ahead of their commit."""
        ...

    def snapshot(self, twin: Twin | None = None) -> Iterator[ChangeSet]: ...

    def tail(self, timeout: float) -> Iterator[ChangeSet]: ...

    def confirm(self, lsn: int) -> None: ...

    def close(self) -> None: ...


def open_origin(
    project: Project, dsn: str, lake: Lake, *, has_position: bool, position: int, recovering: bool, at: Passing = pass_by
) -> Origin:
    """What feeds the lake by the settings. `position`: commit LSN of the lake, -1 for none.

    What is missed without a slot is found by asking the source itself, whatever the route is.
    """
    check_filled_by(project, position)
    if project.settings.capture.source == "debezium":
        return DebeziumOrigin(project, lake, position=position, at=at)
    if project.settings.streams.route == "bus" and not recovering:
        return BusOrigin(project, lake, position=position, at=at)
    if came_over_a_bus(project.lake) and not recovering:
        return _Draining(project, dsn, lake, has_position=has_position, position=position, at=at)
    return open_wal(project, dsn, has_position=has_position, start_lsn=max(position, 0), at=at)


class _Draining:
    """Gives what is on the bus yet, and then goes on with the source, whose slot stands behind it."""

    def __init__(
        self, project: Project, dsn: str, lake: Lake, *, has_position: bool, position: int, at: Passing
    ) -> None:  # fmt: skip
        self._bus: BusOrigin | None = BusOrigin(project, lake, position=position, at=at)
        self._wal: WalSource | None = None
        self._given, self._has_position = position, has_position
        self._open: Callable[[], WalSource] = lambda: open_wal(
            project, dsn, has_position=self._has_position, start_lsn=max(self._given, 0), at=at
        )

    @property
    def seen(self) -> int:
        return self._now.seen

    @property
    def streamed(self) -> int:
        return self._now.streamed

    def snapshot(self, twin: Twin | None = None) -> Iterator[ChangeSet]:
        if self._bus is not None:
            yield from self._noted(self._bus.snapshot(twin))
            if self._has_position or not self._bus.level:
                return
        yield from self._noted(self._past_bus().snapshot(twin))

    def tail(self, timeout: float) -> Iterator[ChangeSet]:
        if self._bus is not None and not self._bus.level:
            yield from self._noted(self._bus.tail(0.0))
            return
        yield from self._past_bus().tail(timeout)

    def confirm(self, lsn: int) -> None:
        self._now.confirm(lsn)

    def close(self) -> None:
        for origin in (self._bus, self._wal):
            if origin is not None:
                origin.close()

    @property
    def _now(self) -> Origin:
        found: Origin | None = self._bus or self._wal
        assert found is not None
        return found

    def _noted(self, sets: Iterator[ChangeSet]) -> Iterator[ChangeSet]:
        for change_set in sets:
            yield change_set
            self._given, self._has_position = max(self._given, change_set.mark.lsn), True

    def _past_bus(self) -> WalSource:
        """All that was on the bus is in the lake: it is not asked again."""
        if self._bus is not None:
            self._wal = self._open()
            self._bus.forget()
            self._bus.close()
            self._bus = None
        assert self._wal is not None
        return self._wal
