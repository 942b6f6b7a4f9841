"""The line to a NATS server: one event loop in a thread of its own, questions and answers in batches.

The client's own reconnecting is not used: it sends what was waiting after what was lost, and so breaks the order of a
topic. Here a lost connection fails what was under way, and the next question makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ...errors import BusError, BusLostError
from ..refusals import closed
from .bells import Bell, Bells
from .client import CONNECTING, Client, Login, Msg, QuickClient, denied, errors, read_servers, refusal, secure
from .frames import HEAP, Frames, Heap
from .refusals import NO_STREAM, RefusedError
from .sending import send
from .waiting import Answer, Asked, Message

ANSWERS_S = (1.0, 2.0, 2.0, 2.0, 3.0)
"""How long each asking of a question waits: while a leader is chosen in a cluster, nobody answers, then or later."""
WRITTEN_S = 5.0
"""How long the answer to what was written is waited for. It is not sent again: it may have arrived."""
SILENT = "NoAnswer"
"""Code of the error when the server is there and says nothing."""
LOOK_S = 0.1
PONG_S = 1
CLOSE_S = 1.0
OLDEST = (2, 12)
"""The first version with batches that are written whole or not at all."""

Given = TypeVar("Given")


class Line:
    """May be used from several threads: all of them wait for the one that has the loop."""

    def __init__(self, servers: Sequence[str], *, login: Login, tls: ssl.SSLContext | None) -> None:
        self.servers = read_servers(servers)
        self._order = list(self.servers)
        """Those that did not answer stand last."""
        self._options: dict[str, Any] = {**CONNECTING, **login.options(), "tls": tls}
        self._secured = secure(self.servers, tls)
        self._client: Client | None = None
        self._server = ""
        self._inbox = ""
        self._frames: Frames | None = None
        self._asked: dict[str, Asked | Heap] = {}
        self._bells = Bells()
        self._count = 0
        self._closed = False
        self._entry = threading.Lock()
        self._under_way: set[asyncio.Task[Any] | None] = set()
        self._loop = asyncio.new_event_loop()
        self._connecting = asyncio.Lock()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bitvelocity-nats", daemon=True)
        self._thread.start()

    @property
    def where(self) -> str:
        """The servers, without what authenticates us."""
        return ", ".join(urlsplit(server).netloc.rpartition("@")[2] for server in self.servers)

    def run(self, work: Coroutine[Any, Any, Given]) -> Given:
        """Have it done on the loop, and wait for it."""
        with self._entry:
            if self._closed:
                work.close()
                raise closed()
            done = asyncio.run_coroutine_threadsafe(self._do(work), self._loop)
        try:
            return done.result()
        except CancelledError:
            raise closed() from None
        except (TimeoutError, errors.Error, OSError) as error:
            raise self._lost(f"{type(error).__name__}: {error}") from error

    async def ask(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """One question, one answer."""
        return (await self._insist(partial(self._put, [Message(subject, headers or {}, payload)], many=False)))[0]

    async def api(self, verb: str, **given: Any) -> dict[str, Any]:
        """Ask JetStream to do something. Raises `RefusedError`."""
        answer = await self.ask(f"$JS.API.{verb}", json.dumps(given).encode() if given else b"")
        return self.judge(answer)

    async def gather(self, subject: str, payload: bytes) -> list[Answer]:
        """One question, many answers; the last one has a status."""
        return await self._insist(partial(self._put, [Message(subject, {}, payload)], many=True))

    async def heap(self, subject: str, payload: bytes) -> Heap:
        """One question, many answers, which stay as they come."""
        return await self._insist(partial(self._pile, Message(subject, {}, payload)))

    async def send(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Send them in order and wait for the answer to the last. Raises `RefusedError`."""
        answer = (await self._put(messages, many=False, patience=WRITTEN_S))[0]
        if answer.status == "503":
            await self.miss(messages[-1].subject)
        return self.judge(answer)

    async def miss(self, subject: str) -> None:
        """Nobody answers for a subject: its stream has no leader now, which passes by, or there is no such stream."""
        if not (await self.api("STREAM.NAMES", subject=subject))["streams"]:
            raise RefusedError(NO_STREAM, "there is no stream for this subject")
        raise self._lost("no server leads the stream at this moment")

    async def tell(self, subjects: Iterable[str]) -> None:
        """Call whoever listens; nobody answers."""
        client = await self._connected()
        for subject in subjects:
            await client.publish(subject)

    def judge(self, answer: Answer) -> dict[str, Any]:
        if answer.status == "503":
            raise BusError(
                f"Nobody at {self.where} answers for JetStream.", code="NoJetStream",
                remedy="Start the server with JetStream (`jetstream {}` in its configuration), "
                "and give the account access to it.",
            )  # fmt: skip
        said: dict[str, Any] = json.loads(answer.payload)
        if error := said.get("error"):
            if error.get("code") == 503:
                raise self._lost(str(error.get("description")))
            raise RefusedError(int(error.get("err_code", 0)), str(error.get("description")))
        return said

    async def greatest(self) -> int:
        """Bytes that one message may have, with its headers."""
        return int((await self._connected()).max_payload)

    def hang(self, subjects: Iterable[str]) -> Bell:
        bell = Bell(subjects, self._take_down)
        self.run(self._hang(bell))
        return bell

    def close(self) -> None:
        """What other threads wait for ends with an error."""
        with self._entry:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _take_down(self, bell: Bell) -> None:
        if not self._closed and bell in self._bells:
            with contextlib.suppress(BusError):
                self.run(self._bells.take_down(bell))

    async def _do(self, work: Coroutine[Any, Any, Given]) -> Given:
        task = asyncio.current_task()
        self._under_way.add(task)
        try:
            return await work
        finally:
            self._under_way.discard(task)

    async def _insist(self, put: Callable[..., Awaitable[Given]]) -> Given:
        """Ask, and ask again: what we ask for does nothing, or nothing more the second time."""
        *early, last = ANSWERS_S
        for patience in early:
            try:
                return await put(patience=patience)
            except BusLostError as lost:
                if lost.code != SILENT:
                    raise
        return await put(patience=last)

    async def _put(self, messages: Sequence[Message], *, many: bool, patience: float) -> list[Answer]:
        asked = Asked(await self._connected(), messages[-1].subject, many=many)
        self._count += 1
        await self._exchange(messages, asked, str(self._count), patience)
        return asked.answers

    async def _pile(self, question: Message, *, patience: float) -> Heap:
        heap = Heap(await self._connected(), question.subject)
        self._count += 1
        name = f"{HEAP}{self._count}"
        heaps = self._frames.heaps if self._frames is not None else {}
        heaps[name.encode()] = heap
        try:
            await self._exchange([question], heap, name, patience)
        finally:
            del heaps[name.encode()]
        return heap

    async def _exchange(self, messages: Sequence[Message], asked: Asked | Heap, token: str, patience: float) -> None:
        """Send them in order, and wait until the last one is answered."""
        self._asked[token] = asked
        try:
            await send(asked.client, messages, f"{self._inbox}.{token}")
            await self._await(asked.client, asked, patience)
        finally:
            del self._asked[token]
            if asked.done.done() and not asked.done.cancelled():
                asked.done.exception()

    async def _await(self, client: Client, asked: Asked | Heap, patience: float) -> None:
        """Until it is done, as long as answers come. We look after the connection ourselves: the client's callback does
        not always come."""
        deadline, had = time.monotonic() + patience, 0
        while not (await asyncio.wait([asked.done], timeout=LOOK_S))[0]:
            if not client.is_connected:
                raise self._lost("the server has gone")
            if asked.had > had:
                deadline, had = time.monotonic() + patience, asked.had
            if time.monotonic() > deadline:
                await self._suspect(client)
                raise self._lost("no answer in time", SILENT)
        asked.done.result()

    async def _suspect(self, client: Client) -> None:
        """Leave a server that says nothing at all, as one that is frozen: its connection would stay for ever."""
        try:
            await client.flush(timeout=PONG_S)
        except (TimeoutError, errors.Error, OSError):
            if client is self._client and client.is_connected:
                self._put_last(self._server)
            await _close(client)

    def _put_last(self, server: str) -> None:
        self._order.remove(server)
        self._order.append(server)

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None or not self._client.is_connected:
                if self._client is not None:
                    _let_go(self._client)
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Client:
        failed: list[Exception] = []
        for server in list(self._order):
            client = QuickClient()
            client.secured, frames = self._secured, Frames(client)

            async def blame(error: Exception, client: Client = client) -> None:
                if client.is_connected:
                    self._deny(client, str(error))
                else:
                    failed.append(error)

            try:
                await client.connect(server, error_cb=blame, closed_cb=partial(self._gone, client), **self._options)
            except (TimeoutError, errors.Error, OSError) as error:
                failed.append(error)
                self._put_last(server)
                await _close(client)
                continue
            except asyncio.CancelledError:
                await _close(client)
                raise
            await self._greet(client, frames)
            self._server = server
            return client
        for one in failed:
            if refused := refusal(one, self.where):
                raise refused from one
        raise self._lost("; ".join(dict.fromkeys(str(one) or type(one).__name__ for one in failed)))

    def _deny(self, client: Client, text: str) -> None:
        """A right that is missing fails the questions that need it; if none is known by its subject, all."""
        if "permissions violation" not in text:
            return
        waiting = [asked for asked in self._asked.values() if asked.client is client and not asked.done.done()]
        meant = [asked for asked in waiting if f'"{asked.subject.lower()}"' in text.lower()]
        for asked in meant or waiting:
            asked.done.set_exception(denied(text, self.where))

    async def _greet(self, client: Client, frames: Frames) -> None:
        version = client.connected_server_version
        if (version.major, version.minor) < OLDEST:
            await client.close()
            raise BusError(
                f"The NATS server at {self.where} is {version.major}.{version.minor}.",
                remedy=f"Topics need {OLDEST[0]}.{OLDEST[1]} or newer: what a publisher writes goes in batches that are "
                "written whole or not at all.",
            )  # fmt: skip
        self._frames, self._inbox = frames, client.new_inbox()
        frames.listen(self._inbox)
        await client.subscribe(f"{self._inbox}.*", cb=self._hear, pending_bytes_limit=0)
        await self._bells.hang_again(client)

    async def _hear(self, message: Msg) -> None:
        if asked := self._asked.get(message.subject.rpartition(".")[2]):
            asked.take(message)

    async def _gone(self, client: Client) -> None:
        for asked in self._asked.values():
            if asked.client is client and not asked.done.done():
                asked.done.set_exception(self._lost("the server has gone"))
        self._bells.ring()

    def _lost(self, why: str, code: str | None = None) -> BusLostError:
        return BusLostError(
            f"NATS at {self.where} does not answer: {why}.", safe="What was acknowledged is on the server's disk.",
            remedy="Start the server, or wait for it: the next call connects again.", code=code,
        )  # fmt: skip

    async def _hang(self, bell: Bell) -> None:
        await self._bells.hang(await self._connected(), bell)

    async def _leave(self) -> None:
        self._bells.clear()
        under_way = [task for task in self._under_way if task is not None]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._client is not None:
            await _close(self._client)


async def _close(client: Client) -> None:
    """End a client. By itself it would wait for ever for the end of a connection whose TLS was refused."""
    with contextlib.suppress(errors.Error, OSError, TimeoutError):
        await asyncio.wait_for(client.close(), CLOSE_S)
    _let_go(client)


def _let_go(client: Client) -> None:
    """Close the socket: where something was still to be sent to a server that fell, the client fails before it does."""
    if client._transport is not None:
        client._transport.close()  # type: ignore[no-untyped-call]
