"""What waits on a line to NATS: a question for its answers, a caller for several things at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from .client import Client, Msg

Given = TypeVar("Given")


class Message(NamedTuple):
    """What goes over the line."""

    subject: str
    headers: dict[str, str]
    payload: bytes


class Answer(NamedTuple):
    headers: Mapping[str, str]
    payload: bytes

    @property
    def status(self) -> str | None:
        """Of an answer that is no stored message: those may have a header of that name, too."""
        return None if "Nats-Sequence" in self.headers else self.headers.get("Status")


class Asked:
    """One question: its answers so far. It is done at the first, or, of many, at the one that has a status."""

    __slots__ = ("answers", "client", "done", "many", "subject")

    def __init__(self, client: Client, subject: str, *, many: bool) -> None:
        self.client, self.subject, self.many = client, subject, many
        self.answers: list[Answer] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def had(self) -> int:
        """It grows as long as answers come."""
        return len(self.answers)

    def take(self, message: Msg) -> None:
        answer = Answer(message.headers or {}, message.data)
        self.answers.append(answer)
        if (not self.many or answer.status is not None) and not self.done.done():
            self.done.set_result(None)


async def every(work: Iterable[Awaitable[Given]]) -> list[Given]:
    """Have them done side by side, and wait for all, also when one fails: none goes on behind our back."""
    done = await asyncio.gather(*work, return_exceptions=True)
    found: list[Given] = []
    for one in done:
        if isinstance(one, BaseException):
            raise one
        found.append(one)
    return found
