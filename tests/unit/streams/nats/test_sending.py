"""Batches in one piece: byte for byte what the client sends message by message."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest

from bitvelocity.streams import RECORD_SCHEMA
from bitvelocity.streams.nats.client import QuickClient, errors
from bitvelocity.streams.nats.coding import singles
from bitvelocity.streams.nats.sending import send, together
from bitvelocity.streams.nats.waiting import Message

KEYS = [b"7", None, b"", b"\x00\x00\x07", b"k\r\n", "\u00e9".encode()]
VALUES = [b"v", b"", None, b"\r\nHPUB a 1 1\r\n", bytes(range(256))]
HEADERS = [[], None, [("ce_id", b"16/3"), ("bv-user", b"u")], [("a", b"1"), ("a", b"2\r\n")], [("x", b""), ("\u00e9", b"1")], [("y", None)]]


class Recording(QuickClient):
    """A client that is connected to nobody, and keeps what it would send."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.sent += bytes(cmd)


def test_a_batch_is_what_the_client_sends_one_by_one() -> None:
    made = [{"key": KEYS[n % 6], "value": VALUES[n % 5], "headers": HEADERS[n // 2 % 6], "timestamp": n} for n in range(60)]
    contents = singles(pa.Table.from_pylist(made, schema=RECORD_SCHEMA), 1 << 20, "t")
    messages = [Message(f"t.{number}", {**head, "Nats-Batch-Id": "x"}, payload) for number, (head, payload) in enumerate(contents)]

    async def one_by_one() -> bytes:
        client = Recording()
        client._max_payload = 1 << 20
        client._status = client.CONNECTED
        for message in messages[:-1]:
            await client.publish(message.subject, message.payload, headers=message.headers)
        await client.publish(messages[-1].subject, messages[-1].payload, reply="_INBOX.a.1", headers=messages[-1].headers)
        return client.sent

    assert together(messages, "_INBOX.a.1") == asyncio.run(one_by_one())


@pytest.mark.parametrize("value", ["1\r\nNats-Rollup: all", "1\nx", "1\rx"])
def test_no_line_break_comes_into_a_header(value: str) -> None:
    with pytest.raises(errors.BadHeaderError):
        together([Message("a", {"x": "1"}, b""), Message("a", {"x": value}, b"")], "r")


def test_without_a_connection_nothing_is_kept_for_later() -> None:
    """It would be sent after what came later, when there is one again."""
    client = Recording()
    with pytest.raises(errors.Error):
        asyncio.run(send(client, [Message("a", {}, b""), Message("a", {}, b"")], "r"))
    assert client.sent == b""
