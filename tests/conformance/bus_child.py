"""Those who are killed: roles of the bus's suite, each as a program. `ENGINE ADDRESS ROLE TOPICS [GROUP or LAST]`.

They write a line to stdout whenever something has been acknowledged.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tests.conformance.buses import ENGINES, FENCED, again, numbered, placed

from bitvelocity.errors import BusLostError, FencedError
from bitvelocity.streams import Bus

STEP = 20


def append(bus: Bus, topics: list[str], first: str = "0") -> None:
    """Append numbers for ever, from `first` on; tell up to which each call went."""
    begin = int(first)
    while True:
        bus.append(topics[0], numbered(begin, begin + STEP))
        begin += STEP
        tell(begin)


def publish(bus: Bus, topics: list[str], last: str = "0", pause: str = "0") -> None:
    """Publish each number once, from 1 on, whatever was published before; end with `last`, or never."""
    while True:
        try:
            publisher = bus.publisher("the-one")
            begin = 1
            while not int(last) or begin <= int(last):
                end = min(begin + STEP, int(last) + 1) if int(last) else begin + STEP
                published = publisher.publish({topic: placed(begin, end) for topic in topics})
                tell(end - 1 if published.written else 0)
                begin = end
                time.sleep(float(pause))
            publisher.close()
        except BusLostError:
            continue
        return


def consume(bus: Bus, topics: list[str], group: str, manner: str = "commit") -> None:
    """Poll for ever; tell what came, then commit it (or only tell, with `hold`)."""
    member = bus.member(group, topics)
    while True:
        for one in again(lambda: member.poll(0.5, limit=50)):
            if manner == "commit":
                member.commit({one.partition: one.next})
            tell([*one.partition, one.records["offset"][0].as_py(), one.next])


def tell(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    engine, address, role, names, *words = sys.argv[1:]
    roles: dict[str, Any] = {"append": append, "publish": publish, "consume": consume}
    try:
        roles[role](ENGINES[engine].connect(address), names.split(","), *words)
    except FencedError:
        sys.exit(FENCED)
