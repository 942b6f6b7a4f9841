"""The moments at which a process is killed: every step, and of some the first and a later passage."""

from __future__ import annotations

from tests.crash.victim import Moment


def each(step: str, *passages: int) -> list[Moment]:
    return [Moment(step, passage) for passage in passages or (1,)]


RECEIVING = (
    *each("capture received", 1, 3),
    *each("capture spilled", 1, 4),
    *each("capture savepoint aborted"),
    *each("capture stream aborted"),
    *each("capture stream committed"),
    *each("capture reported"),
)
WRITING = (
    *each("set taken", 1, 3),
    *each("batch decoded", 1, 5),
    *each("bronze staged", 1, 3),
    *each("silver staged", 2),
    *each("set staged"),
    *each("bronze written"),
    *each("bronze linked"),
    *each("bronze committed", 1, 3),
    *each("silver written"),
    *each("silver linked"),
    *each("silver committed", 1, 2),
    *each("lake committed", 1, 2),
)
PUBLISHING = (
    *each("gold staged"),
    *each("gold written"),
    *each("gold linked"),
    *each("gold committed", 1, 2),
    *each("gold level"),
    *each("watermark written"),
    *each("watermark replaced"),
    *each("published"),
    *each("sinks level"),
    *each("confirmed", 1, 2),
)
TENDING = (
    *each("bronze rolled up"),
    *each("silver rolled up"),
    *each("base folded"),
    *each("base written"),
    *each("base linked"),
    *each("base committed"),
    *each("bronze dead file removed"),
    *each("silver dead file removed"),
    *each("base dead file removed"),
    *each("gold dead file removed"),
    *each("gold checkpointed"),
    *each("gold entries forgotten"),
    *each("bronze checkpointed"),
    *each("silver checkpointed"),
    *each("bronze entries forgotten"),
    *each("silver entries forgotten"),
)
AT_WORK = (*RECEIVING, *WRITING, *PUBLISHING, *TENDING)
GROWING = (
    *each("base rolled up"),
    *each("base checkpointed"),
    *each("base entries forgotten"),
)
"""When a table grows and nothing empties it: only then has its base files to roll up."""
COPYING = (
    *each("capture copy called", 2),
    *each("capture copy received", 1, 3),
    *each("capture copy ended"),
    *each("capture slot moved"),
    *each("batch decoded", 2),
    *each("bronze committed"),
    *each("published"),
    *each("confirmed"),
)
"""While a backlog is read through COPY."""
CHANGING = (
    *each("capture feed left", 1, 2),
    *each("capture copy called"),
    *each("capture slot moved"),
)
"""While the walsender gives way to COPY, in mid-run, and COPY to the walsender: struck in tests/unit/capture/test_catchup.py,
where the process itself writes the backlog, so that it must change."""
DOUBTING = (
    (Moment("capture savepoint aborted"),),
    (Moment("capture feed left"), Moment("bronze committed")),
    (Moment("capture feed left", 2),),
)
"""When a streamed transaction is asked for again, whole, and when that was taken; some with a moment for the next process."""
ALTERING = (
    *each("shapes staged"),
    *each("shapes written"),
    *each("shapes linked"),
    *each("shapes committed"),
)
"""When a table was altered between two changes."""
READING = (
    *each("snapshots order carried out"),
    *each("snapshots chunk read", 1, 2),
    *each("snapshots chunk marked"),
    *each("snapshots book written", 1, 3),
    *each("bronze committed", 2),
    *each("published", 2),
)
"""While tables are read again beside the stream."""
AGAIN = (
    (Moment("capture spilled", 4), Moment("capture spilled", 2)),
    (Moment("bronze committed", 2), Moment("bronze committed", 1)),
    (Moment("bronze committed", 1), Moment("silver committed", 1)),
    (Moment("silver committed", 1), Moment("watermark written", 1)),
    (Moment("lake committed", 1), Moment("set staged", 1)),
    (Moment("published", 1), Moment("batch decoded", 1)),
    (Moment("bronze staged", 2), Moment("bronze orphans removed")),
    (Moment("silver staged", 2), Moment("silver orphans removed")),
    (Moment("base folded"), Moment("base orphans removed")),
    (Moment("gold staged"), Moment("gold orphans removed")),
)
"""Killed at the first moment, and the process that goes on from there at the second."""

IN_SNAPSHOT = (
    *each("capture slot made"),
    *each("capture slot dropped"),
    *each("capture tables locked"),
    *each("batch decoded", 2),
    *each("bronze staged", 1),
    *each("silver staged", 1),
    *each("set staged"),
    *each("bronze committed", 2),
    *each("silver committed", 1),
    *each("lake committed"),
    *each("watermark written"),
    *each("published"),  # from here on there is a position
    *each("gold committed", 1),
    *each("watermark replaced", 1),
)
