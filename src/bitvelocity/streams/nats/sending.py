"""Messages as the server takes them: those of a batch in one piece, which the client would make, check and send one by one."""

from __future__ import annotations

from collections.abc import Sequence

from .client import Client, errors
from .waiting import Message


async def send(client: Client, messages: Sequence[Message], reply: str) -> None:
    """Send them in order; the last one is to be answered to `reply`."""
    if len(messages) == 1:
        subject, headers, payload = messages[0]
        await client.publish(subject, payload, reply=reply, headers=headers or None)
        return
    if not client.is_connected:
        raise errors.ConnectionClosedError
    await client._send_command(together(messages, reply))
    await client._flush_pending()


def together(messages: Sequence[Message], reply: str) -> bytes:
    """As the client would put it. Names and values of headers are ours, or were found to be plain (`coding`)."""
    found = list[bytes]()
    for subject, headers, payload in messages:
        head = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if head.count("\n") != len(headers) or head.count("\r") != len(headers):
            raise errors.BadHeaderError(subject)
        raw = f"NATS/1.0\r\n{head}\r\n".encode()
        to = f"{subject} {reply}" if len(found) == 3 * (len(messages) - 1) else f"{subject} "
        found += (f"HPUB {to} {len(raw)} {len(raw) + len(payload)}\r\n".encode() + raw, payload, b"\r\n")
    return b"".join(found)
