"""Bells: whoever waits until something is written hangs one, and the server's calls ring it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

from .client import Client, Msg, errors


class Bell:
    """Rings when a message comes on its subjects, or the connection is lost."""

    def __init__(self, subjects: Iterable[str], take_down: Callable[[Bell], None]) -> None:
        self.subjects, self._take_down = tuple(subjects), take_down
        self._event = threading.Event()

    def ring(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """True if it rang since the last time."""
        rang = self._event.wait(seconds)
        self._event.clear()
        return rang

    def close(self) -> None:
        self._take_down(self)


class Bells:
    """Those that hang on one line, with their subscriptions. All of it is done on the line's loop, but for `ring`."""

    def __init__(self) -> None:
        self._hung: dict[Bell, list[Any]] = {}

    def __contains__(self, bell: Bell) -> bool:
        return bell in self._hung

    async def hang(self, client: Client, bell: Bell) -> None:
        self._hung[bell] = []
        try:
            await self._subscribe(client, bell)
        except BaseException:
            self._hung.pop(bell, None)
            raise

    async def hang_again(self, client: Client) -> None:
        """On a new connection."""
        for bell in list(self._hung):
            await self._subscribe(client, bell)

    async def take_down(self, bell: Bell) -> None:
        await _end(self._hung.pop(bell, []))

    def ring(self) -> None:
        for bell in self._hung:
            bell.ring()

    def clear(self) -> None:
        self._hung.clear()

    async def _subscribe(self, client: Client, bell: Bell) -> None:
        async def ring(_: Msg) -> None:
            bell.ring()

        subscriptions = [await client.subscribe(subject, cb=ring) for subject in bell.subjects]
        if bell in self._hung:
            self._hung[bell] = subscriptions
            bell.ring()
        else:  # it was taken down meanwhile
            await _end(subscriptions)


async def _end(subscriptions: Iterable[Any]) -> None:
    for subscription in subscriptions:
        with contextlib.suppress(errors.Error):
            await subscription.unsubscribe()
