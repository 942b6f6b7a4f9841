"""A connection of AMQP 0.9.1 in a thread of its own: heartbeats are answered however long its user is busy elsewhere."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, TypeVar

from ...errors import BusError, BusLostError, MissingExtraError
from ..asking import asked_again
from ..tls import behind, tls_refusal
from .address import Address
from .rights import RIGHTS, login_refused, vhost_refused

try:
    import pika
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise MissingExtraError(
        "RabbitMQ needs the package pika.", remedy="pip install 'bitvelocity[rabbitmq]'"
    ) from error

logging.getLogger("pika").addHandler(logging.NullHandler())  # who wants its log asks for it; errors are told by us
PATIENCE = 15.0
LOOK_S = 0.2
"""How often whoever waits for an answer looks whether the connection is there."""
NOT_YET = "NotYet"
"""Code of the error of a server that was started just now, and has not found its queues yet."""
STARTING = ("down or inaccessible", "does not have a replica on the local node")
"""What a server says of a queue, and of a stream, that it only now starts."""
STUMBLED = 541
"""AMQP's number of an internal error: so ends a connection whose reading of a stream falls into that moment."""
NOT_FOUND, LOCKED, DIFFERS = "Amqp404", "Amqp405", "Amqp406"
"""Codes of errors of refused commands, by AMQP's own number. The channel has ended with it."""
HEARTBEAT = 10
"""Seconds; a client that is silent for two of them is gone, and with it what was exclusively its own."""
SLICE = 200
WINDOW = 2000
"""Records that may be unconfirmed at once."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: where to, its properties (`pika.BasicProperties`) and its content."""

    exchange: str
    key: str
    properties: Any
    body: bytes
    mandatory: bool = False


class Amqp:
    """One connection. Channels of it may be used from one thread at a time each."""

    def __init__(self, address: Address, *, name: str = "bitvelocity", heartbeat: int = HEARTBEAT) -> None:
        self.lost: BusError | None = None
        self._channels: list[Channel] = []
        self._opened: Future[None] = Future()
        self._connection: Any = pika.SelectConnection(
            _parameters(address, name, heartbeat),
            on_open_callback=lambda _: self._opened.set_result(None),
            on_open_error_callback=lambda _, error: self._lose(_opening(error), _refused(error, address)),
            on_close_callback=lambda _, error: self._lose(str(error), _reason(error)),
        )
        self._thread = threading.Thread(target=self._run, name="bitvelocity-rabbitmq-amqp", daemon=True)
        self._thread.start()
        try:
            self._opened.result(2 * PATIENCE)
        except FutureTimeout:
            self.close()
            raise _lost("the server does not answer") from None

    def channel(self, *, confirms: bool = False) -> Channel:
        """A channel; with `confirms` what is published on it can be waited for."""
        return Channel(self, confirms=confirms)

    def run(self, work: Callable[[], T], *, patience: float = PATIENCE) -> T:
        """Do something in the connection's thread."""
        done: Future[T] = Future()

        def doing() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self._soon(doing)
        return self.wait(done, patience)

    def wait(self, answer: Future[T], patience: float = PATIENCE) -> T:
        """An answer that comes from the connection's thread; none comes any more once the connection is lost."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return answer.result(LOOK_S)
            except FutureTimeout:
                if not answer.done() and (self.lost or time.monotonic() > deadline):
                    raise self.lost or _lost(f"no answer within {patience:.0f} s") from None
            except pika.exceptions.AMQPError as error:
                raise self.lost or _lost(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """End it, and with it all that is exclusively its own. Again is harmless."""
        if self.lost is None:
            with contextlib.suppress(BusError):
                self._soon(self._end)
        if threading.current_thread() is not self._thread:
            self._thread.join(5)
        self._lose("it was closed")

    def _end(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        else:
            self._connection.ioloop.stop()

    def _soon(self, work: Callable[[], None]) -> None:
        if self.lost is not None:
            raise self.lost
        try:
            self._connection.ioloop.add_callback_threadsafe(work)
        except Exception as error:
            raise self.lost or _lost(str(error)) from error

    def _run(self) -> None:
        try:
            self._connection.ioloop.start()
        except Exception as error:
            self._lose(str(error) or type(error).__name__)
        finally:
            self._lose("it ended")
            with contextlib.suppress(Exception):
                self._connection.ioloop.close()
            with contextlib.suppress(Exception):  # pika leaves it open where the server did not answer its farewell
                self._connection._transport._sock.close()

    def _lose(self, why: str, refused: BusError | None = None) -> None:
        """All that waits is told at once."""
        if self.lost is None:
            self.lost = refused or _lost(why)
        if not self._opened.done():
            self._opened.set_exception(self.lost)
        for channel in list(self._channels):
            channel.closed(self.lost)
        with contextlib.suppress(Exception):
            self._connection.ioloop.stop()

    def _open(self, channel: Channel) -> Any:
        """A channel of pika's, in its thread."""
        self._channels.append(channel)
        opened: Future[Any] = Future()

        def opening() -> None:
            made = self._connection.channel(on_open_callback=opened.set_result)
            made.add_on_close_callback(lambda _, error: channel.closed(_reason(error)))

        self._soon(opening)
        return self.wait(opened)

    def _drop(self, channel: Channel) -> None:
        if channel in self._channels:
            self._channels.remove(channel)


class Channel:
    """A channel: commands that are answered, and publishing that is confirmed. A refused command ends it."""

    def __init__(self, amqp: Amqp, *, confirms: bool) -> None:
        self.amqp = amqp
        self._changed = threading.Condition()
        self._answer: Future[Any] | None = None
        self._error: BusError | None = None
        self._tag = 0
        self._open: dict[int, Message] = {}
        self._nacked: list[Message] = []
        self._returned = 0
        self.raw: Any = amqp._open(self)
        if confirms:
            self.raw.add_on_return_callback(self._on_return)
            self.ask("confirm_delivery", ack_nack_callback=self._on_confirm)

    @property
    def alive(self) -> bool:
        return self._error is None

    def check(self) -> None:
        """Raise what the channel ended with, if it has ended."""
        if self._error is not None:
            raise self._error

    def ask(self, method: str, **words: Any) -> Any:
        """A command of pika's channel, and its answer."""
        self.check()
        answer: Future[Any] = Future()
        self._answer = answer
        self.amqp.run(lambda: getattr(self.raw, method)(callback=answer.set_result, **words))
        try:
            return self.amqp.wait(answer)
        finally:
            self._answer = None

    def publish(self, messages: Sequence[Message]) -> tuple[list[Message], int]:
        """Publish them in their order, and wait. Those that the broker did not take, and how many had no queue."""
        for at in range(0, len(messages), SLICE):
            self._below(WINDOW)
            part = messages[at : at + SLICE]
            self.amqp.run(lambda part=part: self._send(part))  # type: ignore[misc]
        self._below(1)
        with self._changed:
            (nacked, self._nacked), (returned, self._returned) = (self._nacked, []), (self._returned, 0)
        return nacked, returned

    def close(self) -> None:
        if self._error is None:
            with contextlib.suppress(BusError):
                self.amqp.run(self.raw.close)
        self.amqp._drop(self)

    def closed(self, error: BusError) -> None:
        """The channel is gone; called in the connection's thread."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
        answer = self._answer
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._tag += 1
            self._open[self._tag] = message
            self.raw.basic_publish(
                message.exchange, message.key, message.body, message.properties, mandatory=message.mandatory
            )

    def _on_confirm(self, reply: Any) -> None:
        tag, several = reply.method.delivery_tag, reply.method.multiple
        good = isinstance(reply.method, pika.spec.Basic.Ack)
        with self._changed:
            tags = [open_ for open_ in self._open if open_ <= tag] if several else [tag]
            done = [self._open.pop(one) for one in tags if one in self._open]
            if not good:
                self._nacked.extend(done)
            self._changed.notify_all()

    def _on_return(self, *_: Any) -> None:
        with self._changed:
            self._returned += 1

    def _below(self, window: int) -> None:
        with self._changed:
            while len(self._open) >= window and self._error is None:
                if not self._changed.wait(4 * PATIENCE):
                    raise _lost(f"no confirmation within {4 * PATIENCE:.0f} s")
            if self._error is not None:
                raise self._error


def patiently(work: Callable[[], T]) -> T:
    """Do something that may be repeated, once the server has found its queues: seconds after it was started."""
    return asked_again(work, lambda error: 2 * PATIENCE if error.code == NOT_YET else 0)


def _parameters(address: Address, name: str, heartbeat: int) -> Any:
    secure = pika.SSLOptions(address.trust, address.host) if address.trust else None
    return pika.ConnectionParameters(
        host=address.host, port=address.port, virtual_host=address.vhost, heartbeat=heartbeat, ssl_options=secure,
        credentials=pika.PlainCredentials(address.user, address.password),
        client_properties={"product": "BitVelocity", "connection_name": name},
    )  # fmt: skip


def _opening(error: BaseException) -> str:
    """What pika wraps twice."""
    inner = [one for one in getattr(error, "exceptions", ()) if isinstance(one, BaseException)]
    return _opening(inner[-1]) if inner else str(error) or repr(error)


def _refused(error: BaseException, address: Address) -> BusError | None:
    """The error for a connection that a further attempt would not open."""
    where = f"RabbitMQ at {address.host}:{address.port}"
    if refused := tls_refusal(error, where, "[streams.rabbitmq]"):
        return refused
    for one in behind(error):
        if isinstance(one, pika.exceptions.ProbableAuthenticationError):
            return login_refused(where, address)
        if isinstance(one, pika.exceptions.ProbableAccessDeniedError):
            return vhost_refused(where, address)
        if isinstance(one, pika.exceptions.ConnectionClosedByBroker) and one.reply_code == 530:
            return vhost_refused(where, address)
    return None


def _unready(why: str) -> BusLostError:
    return BusLostError(
        f"RabbitMQ is not ready: {why}.", remedy="It passes by. If it does not, see RabbitMQ's log.", code=NOT_YET
    )


def _reason(error: Any) -> BusError:
    if isinstance(error, pika.exceptions.ChannelClosedByBroker):
        if any(words in error.reply_text for words in STARTING):
            return _unready(error.reply_text)
        denied = error.reply_code == 403
        return BusError(
            f"RabbitMQ refuses: {error.reply_text}", code=f"Amqp{error.reply_code}",
            remedy=RIGHTS if denied else "See RabbitMQ's log, and the rights of this user.",
        )  # fmt: skip
    if isinstance(error, pika.exceptions.ConnectionClosedByBroker) and error.reply_code == STUMBLED:
        return _unready(error.reply_text)
    return _lost(str(error))


def _lost(why: str) -> BusLostError:
    return BusLostError(
        f"The connection to RabbitMQ was lost: {why}.",
        safe="What was confirmed is kept; what was under way may have happened or not.",
        remedy="It comes back by itself with the server. Does it run, and do host, user and password fit?",
    )
