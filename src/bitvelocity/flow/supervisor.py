"""Keep a pipeline running: reconnect what heals by itself, stop with the reason on what does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from ..changes import Passing, pass_by
from ..errors import BitVelocityError
from ..lakehouse import Care
from .carrying import Carrier
from .companion import Check, beside
from .database import Database
from .golden import RETRY_SECONDS
from .project import Project
from .pulse import Pulse
from .run import Listener, Pipeline
from .tend import Tender

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
POLL_SECONDS = 0.2

Trouble = Callable[[BitVelocityError, float], None]
"""Called with what went wrong and the pause before the next attempt, in seconds."""


def supervise(
    project: Project,
    database: Database,
    stop: threading.Event,
    *,
    listener: Listener | None = None,
    trouble: Trouble | None = None,
    ready: Callable[[Pipeline], None] | None = None,
    care: Care | None = None,
    at: Passing = pass_by,
) -> None:
    """Run until `stop` is set; raise only what a person must mend.

    A lost connection (or an embedded server that died, which is started again) is retried with growing pauses;
    the lake stays open, so nothing is read again that is already durable.
    """
    trouble = trouble or (lambda *_: None)
    with Pipeline(project, listener, care=care, at=at) as pipeline, _carrying(project, database, trouble, at) as carried:
        runner = _Runner(pipeline.connect, database, stop, trouble)
        tender, pulse = Tender(project, trouble), Pulse(project, trouble)
        if pipeline.watermark is None:
            carried.wait(stop)
        runner.do(pipeline.start)
        if ready and not stop.is_set():
            ready(pipeline)
        told: BitVelocityError | None = None
        while not stop.is_set():
            carried.check()
            runner.do(lambda: pipeline.step(POLL_SECONDS))
            told = _tell(pipeline.trouble, told, trouble)
            pulse.note(pipeline.seen)
            if project.settings.capture.source == "postgres":
                pulse.beat(runner.dsn)
                tender.tend(project.settings.capture.primary or runner.dsn)
        pipeline.finish()


class _Carried:
    """What the thread that carries changes onto the bus has to say; nothing, where there is none."""

    def __init__(self, check: Check = lambda: None, begun: threading.Event | None = None) -> None:
        self.check, self._begun = check, begun

    def wait(self, stop: threading.Event) -> None:
        """Until the source has a slot, and its tables are on the bus: what is written from then on is a change."""
        while self._begun is not None and not self._begun.wait(POLL_SECONDS / 4) and not stop.is_set():
            self.check()


@contextmanager
def _carrying(project: Project, database: Database, trouble: Trouble, at: Passing) -> Iterator[_Carried]:
    """While changes go over a bus, a thread carries them there."""
    if project.settings.streams.route != "bus":
        yield _Carried()
        return
    carrier = Carrier(project, at=at)

    def work(stop: threading.Event) -> None:
        with closing(carrier):
            runner = _Runner(carrier.connect, database, stop, trouble)
            while not stop.is_set():
                runner.do(lambda: carrier.step(POLL_SECONDS))

    with beside("carrier", work) as check:
        yield _Carried(check, carrier.begun)


def _tell(
    error: BitVelocityError | None, told: BitVelocityError | None, trouble: Trouble
) -> BitVelocityError | None:
    """Tell why gold or another sink stands still, once for each time it does."""
    if error is not None and (told is None or told.what != error.what):
        trouble(error, RETRY_SECONDS)
    return error


class _Runner:
    """Does a piece of work until it succeeds, with a new connection after each failure that heals."""

    def __init__(
        self, connect: Callable[[str], None], database: Database, stop: threading.Event, trouble: Trouble
    ) -> None:
        self._connect_to, self._database, self._stop, self._trouble = connect, database, stop, trouble
        self._connected = False

    @property
    def dsn(self) -> str:
        return self._database.dsn

    def do(self, work: Callable[[], object]) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                self._connect()
                work()
            except BitVelocityError as error:
                if error.retry != "itself":
                    raise
                self._connected = False
                self._trouble(error, pause)
                self._stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return

    def _connect(self) -> None:
        if not self._connected:
            self._database = self._database.revive()
            self._connect_to(self._database.dsn)
            self._connected = True
