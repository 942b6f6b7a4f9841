"""One connection of the stream protocol: questions and answers, who publishes and who reads over it. One thread reads it."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from ...errors import BusError, BusLostError
from ..tls import tls_refusal
from .address import Address
from .flows import PATIENCE, Producer, Subscription, was_lost
from .frames import (
    ANSWER,
    OK,
    Command,
    Fields,
    Seek,
    brokers,
    chunk,
    frame,
    pairs,
    refusal,
    text,
    where,
)
from .rights import login_refused, vhost_refused
from .tlssocket import TlsSocket

RECEIVE = 1 << 18


class Connection:
    """A session with one broker. When it is lost, all that waits for it is told so (`BusLostError`), at once."""

    def __init__(self, address: Address, at: tuple[str, int], *, name: str = "bitvelocity") -> None:
        self.lost: BusLostError | None = None
        self.frame_max = 1 << 20
        self._at = at
        self._heartbeat = 60
        self._sent = time.monotonic()
        self._numbers = itertools.count(1)
        self._writing = threading.Lock()
        self._numbering = threading.Lock()
        self._waiting: dict[int, Future[Fields]] = {}
        self._tuned: Future[Fields] = Future()
        self._publishers: dict[int, Producer] = {}
        self._subscriptions: dict[int, Subscription] = {}
        try:
            self._socket = self._connect(address)
        except OSError as error:
            refused = tls_refusal(error, f"RabbitMQ at {at[0]}:{at[1]}", "[streams.rabbitmq]")
            raise refused or was_lost(f"{at[0]}:{at[1]} cannot be reached: {error}") from error
        self._thread = threading.Thread(target=self._read_on, name="bitvelocity-rabbitmq-stream", daemon=True)
        self._thread.start()
        try:
            self._log_in(address, name)
        except BaseException:
            self.close()
            raise

    def ask(self, command: Command, *fields: bytes, what: str) -> Fields:
        """The answer's fields after its code. A refusal is the error that says what could not be done."""
        answer = self._question(command, *fields)
        if (code := answer.take("H")) != OK:
            raise refusal(code, what)
        return answer

    def leader(self, stream: str) -> tuple[str, int]:
        """The broker that leads a stream."""
        answer = self._question(Command.METADATA, struct.pack("!I", 1), text(stream))
        found = brokers(answer)[stream]
        if isinstance(found, int):
            raise refusal(found, f"find the stream {stream}")
        return found

    def partitions(self, names: Sequence[str]) -> dict[str, list[str]]:
        """The streams of super streams in their order; none of one that is not there. All are asked at once."""
        answers = self._questions(Command.PARTITIONS, [(text(name),) for name in names])
        return {
            name: list(answer.texts()) if answer.take("H") == OK else []
            for name, answer in zip(names, answers, strict=True)
        }

    def sequence(self, stream: str, reference: str) -> int:
        """The highest publishing id that the stream has of a publisher; 0 if it has none."""
        what = f"tell the last record of the publisher {reference}"
        answer = self.ask(Command.PUBLISHER_SEQUENCE, text(reference), text(stream), what=what)
        return int(answer.take("Q"))

    def producer(self, stream: str, reference: str = "") -> Producer:
        """A way to publish to a stream. With a reference the server drops ids at or below the highest of that name."""
        with self._numbering:
            number = _free(self._publishers)
            producer = self._publishers[number] = Producer(self, number)
        try:
            self.ask(
                Command.DECLARE_PUBLISHER, bytes([number]), text(reference), text(stream), what=f"publish to {stream}"
            )
        except BaseException:
            self._publishers.pop(number, None)
            raise
        return producer

    def subscribe(
        self,
        stream: str,
        seek: Seek,
        value: int | None = None,
        *,
        credit: int,
        news: threading.Event | None = None,
    ) -> Subscription:
        """Chunks of a stream, `credit` of them at first; what is there is sent before any later answer.

        `news` is set whenever one arrives.
        """
        with self._numbering:
            number = _free(self._subscriptions)
            subscription = self._subscriptions[number] = Subscription(self, number, news)
        spec = (text(stream), where(seek, value), struct.pack("!H", credit), pairs({}))
        try:
            self.ask(Command.SUBSCRIBE, bytes([number]), *spec, what=f"read {stream}")
        except BaseException:
            self._subscriptions.pop(number, None)
            raise
        return subscription

    def barrier(self) -> None:
        """Return when all that the server had to send before has come: it answers a connection's frames in order."""
        self._question(Command.METADATA, struct.pack("!I", 0))

    def unsubscribe(self, number: int) -> None:
        """Its number is free once the server has let go of it: what it sent before is for no other subscription."""
        try:
            if self.lost is None:
                self.ask(Command.UNSUBSCRIBE, bytes([number]), what="end a subscription")
        finally:
            self._subscriptions.pop(number, None)

    def delete_publisher(self, number: int) -> None:
        """Its number is free once the server has let go of it."""
        try:
            if self.lost is None:
                self.ask(Command.DELETE_PUBLISHER, bytes([number]), what="end a publisher")
        finally:
            self._publishers.pop(number, None)

    def send(self, data: bytes | memoryview) -> None:
        """Whole frames. Waits while the server does not take more."""
        if self.lost:
            raise self.lost
        try:
            with self._writing:
                self._socket.sendall(data)
        except OSError as error:
            self._lose(str(error))
            raise was_lost(str(error)) from error
        self._sent = time.monotonic()

    def close(self) -> None:
        """End it; again is harmless."""
        if self.lost is None:
            with contextlib.suppress(BusError):
                self._question(Command.CLOSE, struct.pack("!H", OK), text("done"), patience=2.0)
        self._lose("it was closed")
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _question(self, command: Command, *fields: bytes, patience: float = PATIENCE) -> Fields:
        return self._questions(command, [fields], patience=patience)[0]

    def _questions(self, command: Command, each: Sequence[Sequence[bytes]], *, patience: float = PATIENCE) -> list[Fields]:
        """The answers to questions that are sent at once; each is waited for as long as one."""
        asked = {next(self._numbers): Future[Fields]() for _ in each}
        self._waiting |= asked
        try:
            self.send(b"".join(frame(command, struct.pack("!I", number), *fields) for number, fields in zip(asked, each, strict=True)))
            return [answer.result(patience) for answer in asked.values()]
        except FutureTimeout:
            self._lose(f"no answer within {patience:.0f} s")
            raise was_lost(f"no answer within {patience:.0f} s") from None
        finally:
            for number in asked:
                self._waiting.pop(number, None)

    def _connect(self, address: Address) -> socket.socket | TlsSocket:
        plain = socket.create_connection(self._at, timeout=PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain if address.trust is None else TlsSocket(plain, address.trust, self._at[0])

    def _log_in(self, address: Address, name: str) -> None:
        properties = {"product": "BitVelocity", "platform": "Python", "connection_name": name}
        self.ask(Command.PEER_PROPERTIES, pairs(properties), what="greet us")
        self.ask(Command.SASL_HANDSHAKE, what="tell its logins")
        secret = f"\0{address.user}\0{address.password}".encode()
        login = (text("PLAIN"), struct.pack("!I", len(secret)), secret)
        where = f"RabbitMQ at {self._at[0]}:{self._at[1]}"
        if self._question(Command.SASL_AUTHENTICATE, *login).take("H") != OK:
            raise login_refused(where, address)
        tuned = self._tuned.result(PATIENCE)
        frame_max, self._heartbeat = tuned.take("I"), tuned.take("I")
        self.frame_max = frame_max or 1 << 24  # 0: no bound
        self.send(frame(Command.TUNE, struct.pack("!II", frame_max, self._heartbeat)))
        self._socket.settimeout(self._heartbeat / 2 or None)
        if self._question(Command.OPEN, text(address.vhost)).take("H") != OK:
            raise vhost_refused(where, address)

    def _read_on(self) -> None:
        """Until the connection ends. A silence of two heartbeats is an end as well."""
        try:
            self._read_frames()
        except Exception as error:
            self._lose(str(error) or type(error).__name__)

    def _read_frames(self) -> None:
        buffer, silent = bytearray(), 0
        while True:
            try:
                got = self._socket.recv(RECEIVE)
            except TimeoutError:
                silent += 1
                if silent > 4:
                    raise ConnectionError("the server is silent") from None
                self._beat()
                continue
            if not got:
                raise ConnectionError("the server ended the connection")
            silent = 0
            buffer += got
            buffer = self._frames_in(buffer)
            self._beat()

    def _frames_in(self, buffer: bytearray) -> bytearray:
        """Hand on the whole frames; what is left of the buffer."""
        at = 0
        while len(buffer) - at >= 4:
            (size,) = struct.unpack_from("!I", buffer, at)
            if len(buffer) - at - 4 < size:
                break
            self._arrived(bytes(memoryview(buffer)[at + 4 : at + 4 + size]))
            at += 4 + size
        return buffer[at:] if at else buffer

    def _arrived(self, data: bytes) -> None:
        fields = Fields(data)
        command = fields.take("H")
        fields.take("H")
        if command & ANSWER or command == Command.PARTITIONS:  # 3.10 answers this one without the bit
            if command != Command.CREDIT | ANSWER and (waiting := self._waiting.get(fields.take("I"))):
                waiting.set_result(fields)
        elif (handler := self._handlers.get(command)) is not None:
            handler(self, fields)

    def _confirmed(self, fields: Fields) -> None:
        if producer := self._publishers.get(fields.take("B")):
            producer.confirmed(int(fields.take("I")))

    def _refused(self, fields: Fields) -> None:
        producer = self._publishers.get(fields.take("B"))
        count, _, code = fields.take("I"), fields.take("Q"), fields.take("H")
        if producer:
            producer.failed(refusal(code, f"take {count} records"))

    def _delivered(self, fields: Fields) -> None:
        if subscription := self._subscriptions.get(fields.take("B")):
            subscription.arrived(chunk(fields))

    def _stream_moved(self, _: Fields) -> None:
        """A stream has lost its leader, or is gone: publishers and subscriptions of it are dead. All begin anew."""
        self._lose("a stream has moved to another broker, or was deleted")

    def _closing(self, fields: Fields) -> None:
        fields.take("I")
        fields.take("H")
        self._lose(f"the server closed the connection: {fields.text()}")

    def _tune(self, fields: Fields) -> None:
        self._tuned.set_result(fields)

    def _beat(self) -> None:
        if self._heartbeat and time.monotonic() - self._sent > self._heartbeat / 2:
            self.send(frame(Command.HEARTBEAT))

    def _lose(self, why: str) -> None:
        if self.lost is None:
            self.lost = was_lost(why)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()
        for waiting in [*self._waiting.values(), self._tuned]:
            if not waiting.done():
                with contextlib.suppress(Exception):  # it may have been answered just now
                    waiting.set_exception(self.lost)
        for producer in list(self._publishers.values()):
            producer.failed(self.lost)
        for subscription in list(self._subscriptions.values()):
            subscription.arrived(None)

    _handlers: Mapping[int, Callable[[Connection, Fields], None]] = {
        Command.CONFIRM: _confirmed, Command.PUBLISH_ERROR: _refused, Command.DELIVER: _delivered,
        Command.METADATA_UPDATE: _stream_moved, Command.CLOSE: _closing, Command.TUNE: _tune,
    }  # fmt: skip


def _free(taken: Mapping[int, object]) -> int:
    """A number that is not used; a connection has 256."""
    number = next((number for number in range(256) if number not in taken), None)
    if number is None:
        raise BusError("A connection to RabbitMQ has 256 publishers or subscriptions.", remedy="Open another bus.")
    return number
