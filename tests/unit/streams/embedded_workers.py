"""Competing workers over the embedded transport, killed at the steps that they pass; and zombies. A program: `FOLDER COUNT`.

`source` publishes numbers to `in`. `pump` reads `in` as a member of a group, and publishes to `out`: what it has done of a
partition is in the places of `out`, so that it begins there whoever did it. Each worker is a fork of this process, which
has opened nothing. It ends when its goal is reached, or at its step, by SIGKILL; or it sleeps there, by SIGSTOP, until others
have its work.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from bitvelocity.errors import FencedError
from bitvelocity.streams import PLACED_SCHEMA, Partition, Publisher, Topic
from bitvelocity.streams.embedded import EmbeddedBus
from bitvelocity.streams.embedded.steps import At, Step, nothing

PARTITIONS = 3
FENCED, FAILED = 7, 9

folder, count = Path(sys.argv[1]), int(sys.argv[2])
told = {"killed": 0, "sent to sleep": 0, "fenced": 0}
zombies: list[int] = []


def source(at: At, goal: int) -> None:
    publisher = EmbeddedBus(folder, at=at).publisher("source")
    for begin in range(0, goal, 25):
        publisher.publish({"in": rows(begin, min(begin + 25, goal))})
    os._exit(0)


def rows(begin: int, end: int) -> pa.Table:
    made = [
        {"key": b"%d" % (n % 11), "value": b"%d" % n, "headers": [], "timestamp": n, "lsn": n + 1, "ordinal": 0, "step": 0}
        for n in range(begin, end)
    ]
    return pa.Table.from_pylist(made, schema=PLACED_SCHEMA)


def pump(at: At, goal: int) -> None:
    bus = EmbeddedBus(folder, lease=timedelta(milliseconds=200), at=at)
    publishers: dict[Partition, Publisher] = {}
    fenced = 0

    def start(partition: Partition) -> int:
        publishers[partition] = publisher = bus.publisher(f"pump-{partition.number}")
        return max((place.lsn for place in publisher.places("out").values()), default=0)

    member = bus.member("pump", ["in"], start=start)
    while pumped(bus) < goal:
        try:
            for one in member.poll(0.02, limit=20):
                publishers[one.partition].publish({"out": passed_on(one.records)})
                member.commit({one.partition: one.next})
        except FencedError:  # a zombie, back among the living: join again
            fenced = FENCED
            member.close()
            member = bus.member("pump", ["in"], start=start)
    member.close()
    os._exit(fenced)


def passed_on(records: pa.Table) -> pa.Table:
    """The place of what is passed on is the offset after it."""
    zeros = [0] * records.num_rows
    offsets: list[Any] = records["offset"].to_pylist()
    lsn = [offset + 1 for offset in offsets]
    own = [records[name] for name in ("key", "value", "headers", "timestamp")]
    return pa.Table.from_arrays([*own, pa.array(lsn), pa.array(zeros, pa.int32()), pa.array(zeros, pa.int8())], schema=PLACED_SCHEMA)


def pumped(bus: EmbeddedBus) -> int:
    return sum(span.end for span in bus.spans("out").values())


def strike(step: Step, number: int, sign: int) -> At:
    """Ends or stops this process when it has passed a step so often."""
    left = number

    def at(passed: Step) -> None:
        nonlocal left
        left -= passed is step
        if left == 0 and passed is step:
            os.kill(os.getpid(), sign)

    return at


def fork(work: Callable[[At, int], None], at: At, goal: int) -> int:
    if pid := os.fork():
        return pid
    try:
        work(at, goal)
    finally:
        os._exit(FAILED)


def ended(pid: int) -> int:
    """Wait for the end, or for the sleep, of a worker."""
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        told["sent to sleep"] += 1
        zombies.append(pid)
    elif os.WIFSIGNALED(status):
        told["killed"] += 1
    else:
        code = os.WEXITSTATUS(status)
        assert code in (0, FENCED), code
        told["fenced"] += code == FENCED
    return status


def wake() -> None:
    """The one that has slept longest, and whose partitions others have by now."""
    zombie = zombies.pop(0)
    os.kill(zombie, signal.SIGCONT)
    ended(zombie)


def main() -> None:
    bus = EmbeddedBus(folder)
    for topic in ("in", "out"):
        bus.ensure(Topic(name=topic, partitions=PARTITIONS))
    bus.close()
    rows(0, 1).to_pylist()  # what Arrow loads on the way is loaded once, not by each fork
    plans = list(itertools.product((1, 3), Step))
    for turn, (number, step) in enumerate(plans, 1):
        goal = count * turn // len(plans)
        writer = fork(source, strike(step, number, signal.SIGKILL), goal)
        pumps = [fork(pump, strike(step, number, signal.SIGKILL), goal), fork(pump, strike(Step.CUT, number, signal.SIGSTOP), goal)]
        if ended(writer):
            ended(fork(source, nothing, goal))
        for pid in pumps:
            ended(pid)
        ended(fork(pump, nothing, goal))
        if turn % 3 == 0:
            wake()
    while zombies:
        wake()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
