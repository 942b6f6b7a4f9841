"""NATS's client as we use it: who we are, whom we trust, and what its refusals mean."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import BusError, MissingExtraError, SettingsError
from ..tls import tls_refusal

try:
    from nats import errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.protocol.parser import AWAITING_CONTROL_LINE as BETWEEN
    from nats.protocol.parser import Parser
except ModuleNotFoundError as missing:
    raise MissingExtraError(
        "Topics on NATS need the library nats-py.", remedy="pip install 'bitvelocity[nats]'"
    ) from missing

logging.getLogger("asyncio").addFilter(lambda record: "eof_received() has no effect" not in record.getMessage())
"""The client keeps the protocol of the plain connection behind TLS: each end of a connection would be a warning for nobody."""

CONNECTING: dict[str, Any] = {
    "name": "bitvelocity",
    "connect_timeout": 3,
    "allow_reconnect": False,
    "max_reconnect_attempts": 1,  # 0 would mean for ever, also without reconnecting
    "reconnect_time_wait": 0,
}
READ_BYTES = 1 << 20
LOGIN = "Check user and password, token or credentials in [streams.nats], or those in its url."
CREDENTIALS = "Name the .creds file that nsc made, as it made it."


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are: a user with a password, a token, or a file of credentials (`.creds`). Secrets are not shown."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    credentials: Path | None = None

    def options(self) -> dict[str, Any]:
        """As the client takes them."""
        given: dict[str, Any] = {"user": self.user, "password": self.password, "token": self.token}
        if self.credentials is not None:
            _check_credentials(self.credentials)
            if find_spec("nkeys") is None:
                raise MissingExtraError("Files of credentials need the library nkeys.", remedy="pip install 'nats-py[nkeys]'")
            given["user_credentials"] = str(self.credentials)
        return {name: value for name, value in given.items() if value}


def _check_credentials(file: Path) -> None:
    """The client takes what is no such file for empty credentials."""
    try:
        said = file.read_text(errors="replace")
    except OSError as error:
        raise SettingsError(f"The file of credentials {file} cannot be read: {error.strerror}.", remedy=CREDENTIALS) from error
    if "BEGIN NATS USER JWT" not in said or "BEGIN USER NKEY SEED" not in said:
        raise SettingsError(f"{file} is no file of credentials.", remedy=CREDENTIALS)


class QuickClient(Client):
    """The client, with its costliest step done faster: a stored message comes with eight headers of the server's own.

    Should a later version not call this any more, all is as it was. With `secured` nothing is said to a server that
    does not speak TLS: by itself the client would send the password all the same.
    """

    secured = False

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        found = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon and " " not in name:
                found[name] = value.strip()
        return found

    async def _read_loop(self) -> None:
        """Have more from the socket at once than the client asks for."""
        if (transport := self._transport) is not None:
            transport.read = partial(_much, transport.read)  # type: ignore[method-assign]
        await super()._read_loop()

    def _connect_command(self) -> bytes:
        if self.secured and not self._server_info.get("tls_required"):
            raise PlainServerError
        return super()._connect_command()


async def _much(read: Callable[[int], Awaitable[bytes]], buffer_size: int) -> bytes:
    return await read(max(buffer_size, READ_BYTES))


class PlainServerError(errors.Error):
    """The server does not speak TLS."""

    def __str__(self) -> str:
        return str(self.__doc__)


def read_servers(servers: Sequence[str]) -> list[str]:
    """Addresses that can be shown without what stands before the `@`."""
    listed = [one.strip() if "://" in one else f"nats://{one.strip()}" for one in servers]
    for one in listed:
        if not _whole(one):
            raise SettingsError(
                "An address of NATS cannot be read.",
                remedy="Its form is nats://host:4222, or tls://host:4222. A password with other characters than letters and digits "
                "goes into [streams.nats] password.",
            )  # fmt: skip
    return listed


def _whole(address: str) -> bool:
    """It is one, and no part of a password was taken for another part of it."""
    try:
        parts = urlsplit(address)
        there = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return there and "@" not in f"{parts.path}{parts.query}{parts.fragment}"


def refusal(error: Exception, where: str) -> BusError | None:
    """The error for what only a person can mend; None for what passes by."""
    if isinstance(error, PlainServerError):
        return BusError(
            f"NATS at {where} does not speak TLS.", safe="No password was sent.", code="TlsRefused",
            remedy="Write nats:// and no ca, if that is meant; else mend the server's `tls`.",
        )  # fmt: skip
    if refused := tls_refusal(error, f"NATS at {where}", "[streams.nats]"):
        return refused
    if "authorization" in str(error).lower():
        return BusError(f"NATS at {where} does not let us in.", code="LoginRefused", remedy=LOGIN)
    return None


def denied(text: str, where: str) -> BusError:
    """The error for `permissions violation for publish to "subject"`."""
    what = text.partition(" for ")[2] or text
    return BusError(
        f"NATS at {where} does not allow this user: {what}.", code="NotPermitted", safe="What was acknowledged stays.",
        remedy="Give the user that right; docs/how-to/topics-on-nats.md lists all that a bus needs.",
    )  # fmt: skip


def secure(servers: Sequence[str], tls: ssl.SSLContext | None) -> bool:
    """Whether nothing may be said in the open."""
    return tls is not None or any(urlsplit(one).scheme == "tls" for one in servers)


__all__ = [
    "BETWEEN", "CONNECTING", "Client", "Login", "Msg", "Parser", "QuickClient", "denied", "errors", "read_servers", "refusal",
    "secure",
]  # fmt: skip
