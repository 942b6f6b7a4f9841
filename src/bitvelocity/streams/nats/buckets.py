"""Small documents in key-value buckets, changed only by whoever has seen the last change."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import BusLostError
from .line import Line
from .names import quoted
from .refusals import NO_MESSAGE, NO_STREAM, WRONG_LAST, RefusedError, failed
from .waiting import Message

IN_USE = 10058
"""The stream is there, and was made with another number of replicas."""
TRIES = 200
"""How often a change is tried anew when others were quicker."""

Given = TypeVar("Given")


class Bucket:
    """A bucket of NATS (`nats kv get <bucket> <key>` shows what is in it), made when it is first written."""

    def __init__(self, line: Line, name: str, *, replicas: int) -> None:
        self._line, self.name, self._replicas = line, name, replicas

    def subject(self, key: str) -> str:
        return f"$KV.{self.name}.{quoted(key)}"

    async def get(self, key: str) -> tuple[int, dict[str, Any]]:
        """The document with its revision, as the leader has it; revision 0 and nothing: there is none."""
        try:
            said = await self._line.api(f"STREAM.MSG.GET.KV_{self.name}", last_by_subj=self.subject(key))
        except RefusedError as refused:
            if refused.number in (NO_MESSAGE, NO_STREAM):
                return 0, {}
            raise failed(refused, key) from refused
        return int(said["message"]["seq"]), json.loads(
            base64.b64decode(said["message"].get("data", "")) or "{}"
        )

    async def put(self, key: str, document: dict[str, Any], revision: int) -> int | None:
        """Write it, if the last revision is still that; the new one, or None."""
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        payload = json.dumps(document, separators=(",", ":")).encode()
        if revision == 0:  # first of all: a listener alone would swallow what nobody stores
            await self._make()
        try:
            return int((await self._line.send([Message(self.subject(key), expected, payload)]))["seq"])
        except RefusedError as refused:
            if refused.number in WRONG_LAST:
                return None
            raise failed(refused, key) from refused

    async def change(self, key: str, change: Callable[[dict[str, Any]], Given]) -> Given:
        """Have a function alter the document, and write it; again from what is there now, when another was quicker."""
        for _ in range(TRIES):
            revision, document = await self.get(key)
            before = json.dumps(document)
            given = change(document)
            if json.dumps(document) == before or await self.put(key, document, revision) is not None:
                return given
            await asyncio.sleep(random.uniform(0, 0.005))  # noqa: S311 (so that two do not meet again)
        raise BusLostError(f"{self.name}: others were quicker {TRIES} times.", entity=key)

    async def _make(self) -> None:
        config = {
            "name": f"KV_{self.name}", "subjects": [f"$KV.{self.name}.>"], "max_msgs_per_subject": 1,
            "retention": "limits", "storage": "file", "discard": "new", "num_replicas": self._replicas,
            "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True,
        }  # fmt: skip
        try:
            await self._line.api(f"STREAM.CREATE.KV_{self.name}", **config)
        except RefusedError as refused:
            if refused.number != IN_USE:
                raise failed(refused, self.name) from refused
            await self._copy()

    async def _copy(self) -> None:
        """As many replicas as are wanted, of a bucket that was made with fewer."""
        config = (await self._line.api(f"STREAM.INFO.KV_{self.name}"))["config"]
        if config["num_replicas"] < self._replicas:
            await self._line.api(f"STREAM.UPDATE.KV_{self.name}", **{**config, "num_replicas": self._replicas})
