"""A TLS connection of two threads, one that reads and one that writes.

Python's own is not made for that: both may be inside OpenSSL at once, which mixes up the records of the connection, and the
server ends it. Here each step inside is alone, and what has to be waited for is waited for outside.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TlsSocket:
    """The calls of a socket that a connection of streams makes."""

    def __init__(self, plain: socket.socket, trust: ssl.SSLContext, host: str) -> None:
        self._timeout = plain.gettimeout()
        self._inside = threading.Lock()
        try:
            self._tls = trust.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self._tls.setblocking(False)

    def settimeout(self, seconds: float | None) -> None:
        """For each step that waits; None waits for ever."""
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        return self._step(lambda: self._tls.recv(size))

    def sendall(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[self._step(lambda part=view: self._tls.send(part)) :]  # type: ignore[misc]

    def shutdown(self, how: int) -> None:
        """Alone too: Python lets go of TLS before it ends the connection, and whoever wrote in between wrote plain text."""
        with self._inside:
            self._tls.shutdown(how)

    def close(self) -> None:
        with self._inside:
            self._tls.close()

    def _step(self, work: Callable[[], T]) -> T:
        while True:
            try:
                with self._inside:
                    return work()
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            waiting = select.poll()
            waiting.register(self._tls, wanted)
            if not waiting.poll(None if self._timeout is None else self._timeout * 1000):
                raise TimeoutError("the server is silent")
