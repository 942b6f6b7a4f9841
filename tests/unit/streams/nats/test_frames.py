"""What comes from the socket, split anywhere: heaps get their messages whole, the client gets all else as it would alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitvelocity.streams.nats.client import Parser, QuickClient
from bitvelocity.streams.nats.frames import LONGEST_LINE, Frames, Heap

INBOX = "_INBOX.abc"
Seen = list[tuple[Any, ...]]


class Recording(QuickClient):
    """A client that is connected to nobody, and writes down what its parser tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Seen = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self.seen.append((sid, bytes(subject), bytes(reply), data, headers))

    async def _process_ping(self) -> None:
        self.seen.append(("PING",))

    async def _process_pong(self) -> None:
        self.seen.append(("PONG",))

    async def _process_err(self, err_msg: str) -> None:
        self.seen.append(("ERR", err_msg))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        self.seen.append(("INFO", info, initial_connection))


def hmsg(last: str, head: bytes, content: bytes, inbox: str = INBOX) -> bytes:
    return b"HMSG %s.%s 1 %d %d\r\n" % (inbox.encode(), last.encode(), len(head), len(head) + len(content)) + head + content + b"\r\n"


def stored(number: int, *lines: bytes) -> bytes:
    return b"\r\n".join([b"NATS/1.0", *lines, b"Nats-Sequence: %d" % number, b"", b""])


END = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n"
NOBODY = b"NATS/1.0 503\r\n\r\n"
EVIL = hmsg("heap-1", END, b"") + b"PING\r\nMSG a 1 3\r\n"
FOREIGN = [
    b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n", b'INFO {"a": "HMSG"}\r\n',
    b"MSG bv-wake.t.0 7 0\r\n\r\n", b"MSG _INBOX.abc.12 1 5\r\n{\r\n}1\r\n", hmsg("13", stored(1), b"not for a heap"),
    hmsg("heap-1", stored(1), b"of another", "_INBOX.abd"), hmsg("heap-9", stored(1), b"late, and for nobody"), hmsg("heap-9", END, b""),
    b"HMSG _INBOX.abc.14 1 reply.to 12 15\r\nNATS/1.0\r\n\r\nabc\r\n", b"HMSG\tother  1   12 12\r\nNATS/1.0\r\n\r\n\r\n",
]  # fmt: skip
MESSAGES = [
    (stored(1), b""), (stored(2, b"a: b"), b"\r\n"), (stored(3), EVIL), (b"NATS/1.0 404 mine\r\nNats-Sequence: 4\r\n\r\n", b"x"),
    (stored(5, *(b"name-%d: value" % number for number in range(9))), b"y" * 130), (b"NATS/1.0\r\n\r\n", b"z"),
]  # fmt: skip


def split(data: bytes, places: Iterable[int]) -> list[bytes]:
    cuts = [0, *sorted(places), len(data)]
    return [data[begin:end] for begin, end in pairwise(cuts)]


async def feed(pieces: Sequence[bytes], heaps: int = 2) -> tuple[Seen, list[Heap]]:
    client = Recording()
    frames = Frames(client)
    frames.listen(INBOX)
    found = [Heap(client, "a.subject") for _ in range(heaps)]
    frames.heaps.update({f"heap-{number}".encode(): heap for number, heap in enumerate(found, 1)})
    for piece in pieces:
        await frames.parse(piece)
    assert client._ps is frames
    return client.seen, found


async def by_the_client(data: bytes) -> Seen:
    client = Recording()
    await Parser(client).parse(data)
    return client.seen


def apart(seen: Seen, name: bytes) -> tuple[list[tuple[bytes, bytes]], Seen]:
    """What a client alone would have got of a heap, and the rest."""
    subject = f"{INBOX}.".encode() + name
    return [(one[4], one[3]) for one in seen if one[1:2] == (subject,)], [one for one in seen if one[1:2] != (subject,)]


def contents(heap: Heap) -> list[tuple[bytes, bytes]]:
    messages = heap.messages()
    return [messages.one(row) for row in range(len(messages))]


def check(data: bytes, *splits: Sequence[bytes]) -> None:
    """The stream ends with the end of both heaps."""

    async def checked() -> None:
        alone = await by_the_client(data)
        for pieces in splits:
            compare(*await feed(pieces), alone)

    asyncio.run(checked())


def compare(seen: Seen, heaps: list[Heap], rest: Seen) -> None:
    for number, heap in enumerate(heaps, 1):
        wanted, rest = apart(rest, b"heap-%d" % number)
        assert contents(heap) == wanted[:-1]
        assert heap.done.done()
        assert heap.end.status in {"204", "503"}
        assert not heap.odd
    _, rest = apart(rest, b"heap-9")
    assert seen == rest


def stream(order: Sequence[int]) -> bytes:
    """Messages to two heaps and foreign ones, by their numbers."""
    made = b""
    for number in order:
        kind, which = divmod(number, 20)
        made += FOREIGN[which % len(FOREIGN)] if kind == 2 else hmsg(f"heap-{kind + 1}", *MESSAGES[which % len(MESSAGES)])
    return made + hmsg("heap-2", END, b"") + hmsg("heap-1", NOBODY, b"")


ALL = stream([0, 1, 40, 2, 20, 41, 3, 4, 5, 42, 43, 21, 22, *range(44, 53), 23, 24, 0, 25, 25, 1])


def test_split_at_each_byte() -> None:
    check(ALL, *(split(ALL, [place]) for place in range(len(ALL) + 1)))


def test_byte_by_byte() -> None:
    check(ALL, split(ALL, range(1, len(ALL))))


@given(st.lists(st.integers(0, 59), max_size=30), st.data())
@settings(max_examples=60)
def test_any_order_and_any_split(order: list[int], data: st.DataObject) -> None:
    made = stream(order)
    check(made, split(made, data.draw(st.sets(st.integers(0, len(made)), max_size=12))))


def test_many_messages_of_one_heap_with_sizes_that_repeat() -> None:
    """Beginnings of frames that were seen are looked up."""
    data = b"".join(hmsg("heap-1", stored(10 + row % 3, b"k: " + b"x" * (row % 5)), b"v" * (row * 7 % 1200)) for row in range(2000))
    data += hmsg("heap-2", END, b"") + hmsg("heap-1", END, b"")
    check(data, split(data, range(0, len(data), 4099)))


def test_a_large_message_in_many_pieces() -> None:
    data = hmsg("heap-1", stored(1), b"a" * 3_000_000) + hmsg("heap-1", stored(2), EVIL) + hmsg("heap-1", END, b"") + hmsg("heap-2", END, b"")
    check(data, split(data, range(0, len(data), 30_000)))


@pytest.mark.parametrize(
    "frame",
    [
        b"MSG _INBOX.abc.heap-1 1 5\r\nhello\r\n", b"HMSG _INBOX.abc.heap-1 1 reply 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        b"HMSG _INBOX.abc.heap-1  1  12 12\r\nNATS/1.0\r\n\r\n\r\n",
    ],
)  # fmt: skip
def test_a_message_for_a_heap_in_another_form_makes_it_odd(frame: bytes) -> None:
    """Also when the end comes before the client has told of it."""
    data = hmsg("heap-1", stored(1), b"") + frame + hmsg("heap-1", END, b"")

    async def fed(place: int) -> None:
        seen, (heap, other) = await feed(split(data, [place]))
        assert [one[1] for one in seen] == [b"_INBOX.abc.heap-1"]
        assert heap.odd
        assert heap.done.done()
        assert not other.odd

    for place in range(len(data)):
        asyncio.run(fed(place))


def test_what_had_begun_before_there_was_a_heap_is_ended_by_the_client() -> None:
    before = hmsg("13", stored(1), b"content") + b"PING\r\n"
    data = before + hmsg("heap-1", stored(2), b"x") + hmsg("heap-1", END, b"")

    async def fed(place: int) -> None:
        client = Recording()
        frames = Frames(client)
        frames.listen(INBOX)
        await frames.parse(data[:place])
        heap = frames.heaps[b"heap-1"] = Heap(client, "a.subject")
        await frames.parse(data[place:])
        assert client.seen == await by_the_client(before)
        assert contents(heap) == [(stored(2), b"x")]
        assert heap.done.done()

    for place in range(len(before) + 1):
        asyncio.run(fed(place))


def test_a_heap_that_was_given_up_in_the_middle_of_a_frame_leaves_the_rest_alone() -> None:
    data = hmsg("heap-1", stored(1), b"x" * 50) + hmsg("heap-1", END, b"") + b"PING\r\n"

    async def fed(place: int) -> None:
        client = Recording()
        frames = Frames(client)
        frames.listen(INBOX)
        frames.heaps[b"heap-1"] = Heap(client, "a.subject")
        await frames.parse(data[:place])
        del frames.heaps[b"heap-1"]
        await frames.parse(data[place:])
        assert client.seen[-1] == ("PING",)

    for place in range(len(data) - 5):
        asyncio.run(fed(place))


def test_what_is_no_line_is_left_to_the_client_to_complain_about() -> None:
    async def fed() -> None:
        with pytest.raises(Exception, match="protocol error"):
            await feed([b"nonsense\r\n"])
        await feed([b"x" * LONGEST_LINE, b"y" * LONGEST_LINE])

    asyncio.run(fed())
