"""Someone between Kafka's client and its broker, who does at once what a race of the broker does once in some hundred times."""

from __future__ import annotations

import asyncio
import struct
import threading
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

END_TXN = 26
UNKNOWN = struct.pack("!h", -1)


class Between:
    """Hands requests and answers on. The first EndTxn goes on after `meanwhile`. Answers to the first `unnamed` of them are errors without a name."""

    def __init__(self, broker: str, meanwhile: Callable[[], object], unnamed: int = 1) -> None:
        host, _, port = broker.partition(":")
        self._host, self._port, self._meanwhile = host, int(port), meanwhile
        self._unnamed = unnamed
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._writers: list[StreamWriter] = []
        self._lines: list[asyncio.Task[None]] = []
        self.address = ""
        self.answered = 0

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, self._host, 0)
        self._own = server.sockets[0].getsockname()[1]
        self.address = f"{self._host}:{self._own}"
        self._up.set()
        await self._stop.wait()
        server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._lines)
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    @contextmanager
    def running(self) -> Iterator[str]:
        """The address at which the broker seems to be."""
        thread = threading.Thread(target=lambda: asyncio.run(self.serve()))
        thread.start()
        self._up.wait()
        try:
            yield self.address
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    async def _connected(self, from_client: StreamReader, to_client: StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(self._host, self._port)
        asked: dict[bytes, int] = {}
        self._writers += [to_client, to_server]
        self._lines += [
            asyncio.create_task(self._requests(from_client, to_server, asked)),
            asyncio.create_task(self._answers(from_server, to_client, asked)),
        ]

    async def _requests(
        self, from_client: StreamReader, to_server: StreamWriter, asked: dict[bytes, int]
    ) -> None:
        async for frame in _frames(from_client):
            (asked[frame[4:8]],) = struct.unpack("!h", frame[:2])
            if asked[frame[4:8]] == END_TXN and not self.answered:
                await asyncio.to_thread(self._meanwhile)
            _send(to_server, frame)
        to_server.close()

    async def _answers(
        self, from_server: StreamReader, to_client: StreamWriter, asked: dict[bytes, int]
    ) -> None:
        """Those that tell where the broker is tell of us."""
        name = self._host.encode()
        theirs, ours = (name + struct.pack("!i", port) for port in (self._port, self._own))
        async for frame in _frames(from_server):
            answer = frame.replace(theirs, ours)
            if asked.pop(frame[:4]) == END_TXN and self.answered < self._unnamed:
                self.answered += 1
                answer = answer[:8] + UNKNOWN + answer[10:]
            _send(to_client, answer)
        to_client.close()


async def _frames(reader: StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            yield await reader.readexactly(length)
        except (IncompleteReadError, ConnectionError):
            return


def _send(writer: StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack("!i", len(frame)) + frame)
