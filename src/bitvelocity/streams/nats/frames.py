"""Messages as they come from the socket: the answers to some questions are kept as bytes, all else goes to the client.

The client's parser makes objects of each message. Here it is passed by for messages to *heaps*: subjects of our own inbox
whose last part begins with `HEAP`. Their frames are found from line to line (`HMSG <subject> <subscription> <size of the header>
<size of all>`), and stay together as they are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import numpy as np

from ..slices import Ints
from .alike import FIRST_LINE, PAD, Messages
from .client import BETWEEN, Client, Msg, Parser
from .waiting import Answer

HEAP = "heap-"
"""Begins the last part of a subject whose messages are not made into objects."""
LF = ord("\n")
MARK, SPACE = len(FIRST_LINE), ord(" ")
"""What stands there behind the first words of a header tells a status from stored headers."""
LOOKED_AT = MARK + 3
"""Bytes behind a line in which there is that mark, also when the line is longer by two digits; and nothing yet that is different
in each message."""
LONGEST_LINE = 4096
"""What is no line by then is left to the client to complain about."""


Frame = tuple[int, int, int, int]
"""How long are its line, its header and its content, and all of it."""


class Heap:
    """One question, whose many answers stay bytes. It is done at an answer that has a status: `end`.

    `odd`: one came in another form than stored messages have; then it has to be asked in the other way. `known`: beginnings of
    frames that were read, up to where their headers begin: sizes repeat, and to look one up is twice as quick as to read it.
    """

    __slots__ = ("_parts", "_places", "client", "done", "end", "known", "odd", "size", "subject")

    def __init__(self, client: Client, subject: str) -> None:
        self.client, self.subject = client, subject
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.end, self.odd, self.size = Answer({}, b""), False, 0
        self._parts: list[memoryview] = []
        self.known: dict[bytes, Frame] = {}
        self._places: list[Ints] = []

    @property
    def had(self) -> int:
        """It grows as long as answers come."""
        return self.size

    def put(self, part: memoryview, frames: Sequence[Frame]) -> None:
        """Stored messages that came one behind the other."""
        line, head, content, size = np.array(frames, np.int64).T
        begin = self.size + np.cumsum(size) - size + line
        self._places.append(np.array([begin, begin + head, begin + head + content]))
        self._parts.append(part)
        self.size += len(part)

    def take(self, message: Msg) -> None:
        """What the client has read."""
        answer = Answer(message.headers or {}, message.data)
        self.odd |= answer.status is None
        self.finish(answer)

    def finish(self, answer: Answer) -> None:
        self.end = answer
        if not self.done.done():
            self.done.set_result(None)

    async def answer(self, head: bytes, content: bytes) -> Answer:
        """As the client reads it."""
        return Answer(await self.client._process_headers(head) or {}, content)

    def messages(self) -> Messages:
        """All that have come, in order."""
        raw = np.frombuffer(b"".join((*self._parts, PAD)), np.uint8)
        return Messages(raw, *np.concatenate([np.zeros((3, 0), np.int64), *self._places], axis=1))


class Frames(Parser):
    """The client's parser, which gets what is not for a heap; all of it while there is none.

    A frame that has not come wholly is kept until it has.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.heaps: dict[bytes, Heap] = {}
        self._inbox, self._begin, self._line = b"", b"", re.compile(rb"(?!)")
        self._kept, self._need = bytearray(), 0
        client._ps = self  # should a later version not call this, all messages come as objects

    def listen(self, inbox: str) -> None:
        """Look for messages to heaps in this inbox."""
        self._inbox = inbox.encode()
        self._begin = b"HMSG %b." % self._inbox
        self._line = re.compile(re.escape(self._begin) + rb"(" + HEAP.encode() + rb"\d+) \d+ (\d+) (\d+)\r\n")

    def reset(self) -> None:
        super().reset()
        self._kept, self._need = bytearray(), 0

    async def parse(self, data: bytes = b"") -> None:
        if self._kept:
            if len(self._kept) + len(data) < self._need:
                self._kept += data
                return
            data = b"".join((self._kept, data))
            self._kept, self._need = bytearray(), 0
        elif not self.heaps:
            await super().parse(data)
            return
        at = 0
        while at < len(data):
            stop = at + self.needed + 2 - len(self.buf)
            if self.state == BETWEEN:
                stop = data.find(b"\n", at) + 1 or len(data)
                if data[stop - 1] != LF and stop - at < LONGEST_LINE:
                    break
                if not self.buf and data.startswith(self._begin, at):
                    begun, at = at, await self._keep(data, at)
                    if at > begun:
                        continue
                    if self._line.match(data, at) is not None:
                        break
                self._suspect(data[at:stop])
            await super().parse(data[at:stop])
            at = stop
        self._kept = bytearray(data[at:])

    def _suspect(self, line: bytes) -> None:
        """Before the client reads a message that was meant for a heap. It tells of it later than we of the end."""
        for name, heap in self.heaps.items():
            heap.odd |= b" %b.%b " % (self._inbox, name) in line.replace(b"\t", b" ")

    async def _keep(self, data: bytes, at: int) -> int:
        """Put away messages for heaps from here on, and tell where something else begins, or what is not whole."""
        while line := self._line.match(data, at):
            heap = self.heaps.get(line[1])
            begun, at = at, self._run(data, at, heap, line[1])
            if at > begun:
                continue
            frame = _frame(line)
            if at + frame[-1] > len(data):
                self._need = frame[-1]
                break
            at += frame[-1]
            if heap is not None:
                await self._finish(heap, data[begun:at], frame)
        return at

    def _run(self, data: bytes, at: int, heap: Heap | None, name: bytes) -> int:
        """Put away the whole messages for one heap that follow each other. The only loop over messages."""
        known: dict[bytes, Frame] = {} if heap is None else heap.known
        line = self._line.match(data, at)
        width = 0 if line is None else line.end() - at + LOOKED_AT
        size, first, found = len(data), at, list[Frame]()
        while True:
            begin = data[at : at + width]
            if (frame := known.get(begin)) is None:
                line = self._line.match(data, at)
                if line is None or line[1] != name:
                    break
                frame = _frame(line)
                if at + frame[-1] > size or data[line.end() + MARK] == SPACE:
                    break
                if frame[0] + MARK < width:
                    known[begin] = frame
            elif at + frame[-1] > size:
                break
            found.append(frame)
            at += frame[-1]
        if heap is not None and found:
            heap.put(memoryview(data)[first:at], found)
        return at

    async def _finish(self, heap: Heap, data: bytes, frame: Frame) -> None:
        """There is more behind `NATS/1.0`: mostly the status that ends the answers."""
        begin, head, content, _ = frame
        body = begin + head
        answer = await heap.answer(data[begin:body], data[body : body + content])
        if answer.status is None:
            heap.put(memoryview(data), [frame])
        else:
            heap.finish(answer)


def _frame(line: re.Match[bytes]) -> Frame:
    size, head, whole = line.end() - line.start(), int(line[2]), int(line[3])
    return size, head, whole - head, size + whole + 2
