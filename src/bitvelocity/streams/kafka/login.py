"""Logging in to a broker without the client: a name and a password, told (PLAIN) or proved (SCRAM).

Source: Kafka's protocol guide (SaslHandshake version 1, SaslAuthenticate version 1), RFC 4616, RFC 5802.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

HANDSHAKE, AUTHENTICATE, VERSION = 17, 36, 1
_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_MOST_ROUNDS = 1_000_000
_SETTINGS = ("sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password")

Words: TypeAlias = "Generator[bytes, bytes, None]"
"""What we say, one after the other; each is answered by what the broker said to it."""
Ask = Callable[[int, int, bytes], memoryview]
"""A command, its version and its fields; the answer's fields."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are. The password is shown nowhere."""

    mechanism: str
    user: str
    password: str = field(repr=False)

    def enter(self, ask: Ask) -> float | None:
        """Log in; for how many seconds that holds, None: for ever. Raises ValueError when the broker does not let us in."""
        name = self.mechanism.encode()
        (error,) = struct.unpack_from("!h", ask(HANDSHAKE, VERSION, struct.pack("!h", len(name)) + name))
        if error:
            raise ValueError("the broker has another kind of login")
        words, millis = self._words(), 0
        said: bytes | None = next(words)
        while said is not None:
            answer, millis = _told(ask(AUTHENTICATE, VERSION, struct.pack("!i", len(said)) + said))
            said = _next(words, answer)
        return millis / 1000 or None

    def _words(self) -> Words:
        return _plain(self) if self.mechanism == "PLAIN" else _scram(self, _HASHES[self.mechanism])


def login_of(config: Mapping[str, Any]) -> Login | None:
    """The login that settings of the client ask for. Raises LookupError when it is of a kind that only the client knows."""
    asked = {name for name in config if name.startswith(("sasl.", "enable.sasl"))}
    if "sasl" not in str(config.get("security.protocol", "")).lower():
        return None
    mechanism = str(config.get("sasl.mechanism") or config.get("sasl.mechanisms", "")).upper()
    user, password = (str(config.get(name, "")) for name in ("sasl.username", "sasl.password"))
    if mechanism not in {"PLAIN", *_HASHES} or not asked <= set(_SETTINGS) or not (user + password).isascii():
        raise LookupError(mechanism)
    return Login(mechanism, user, password)


def _told(answer: memoryview) -> tuple[bytes, int]:
    """What the broker says, and for how long a login holds, in ms."""
    error, length = struct.unpack_from("!hh", answer)
    if error:
        raise ValueError("the broker does not let us in")
    at = 4 + max(0, length)
    (size,) = struct.unpack_from("!i", answer, at)
    (millis,) = struct.unpack_from("!q", answer, at + 4 + max(0, size))
    return bytes(answer[at + 4 : at + 4 + max(0, size)]), int(millis)


def _next(words: Words, answer: bytes) -> bytes | None:
    """What we say to that; None: nothing more."""
    try:
        return words.send(answer)
    except StopIteration:
        return None


def _plain(login: Login) -> Words:
    yield f"\0{login.user}\0{login.password}".encode()


def _scram(login: Login, kind: str) -> Words:
    user = login.user.replace("=", "=3D").replace(",", "=2C")
    first = f"n={user},r={secrets.token_urlsafe(24)}"
    told = (yield f"n,,{first}".encode()).decode()
    parts = dict(part.split("=", 1) for part in told.split(","))
    if not parts["r"].startswith(first.rpartition(",r=")[2]):
        raise ValueError("the broker answers somebody else")
    rounds = min(int(parts["i"]), _MOST_ROUNDS)
    salted = hashlib.pbkdf2_hmac(kind, login.password.encode(), base64.b64decode(parts["s"]), rounds)
    last = f"c=biws,r={parts['r']}"
    whole = f"{first},{told},{last}".encode()
    key = hmac.digest(salted, b"Client Key", kind)
    signature = hmac.digest(hashlib.new(kind, key).digest(), whole, kind)
    proof = base64.b64encode(bytes(one ^ other for one, other in zip(key, signature, strict=True))).decode()
    end = yield f"{last},p={proof}".encode()
    known = hmac.digest(hmac.digest(salted, b"Server Key", kind), whole, kind)
    if not hmac.compare_digest(end, b"v=" + base64.b64encode(known)):
        raise ValueError("the broker does not know the password either")


__all__ = ["Login", "login_of"]
