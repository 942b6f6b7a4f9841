"""Where a RabbitMQ is: one address for both of its protocols."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from ...errors import SettingsError
from ..tls import trusting

FORM = (
    "amqp://user:password@host:5672/vhost?stream_port=5552 (amqps:// for TLS). What is no letter or digit is written as %XX; a "
    "password may stand in [streams.rabbitmq] password as it is"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. The password is never shown. `trust`: with TLS, whom we trust."""

    host: str
    port: int
    stream_port: int
    user: str
    password: str
    vhost: str
    trust: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"{'amqps' if self.trust else 'amqp'}://{self.host}:{self.port}/{self.vhost}"


def parse_address(text: str, *, user: str = "", password: str = "", trust: ssl.SSLContext | None = None) -> Address:
    """`amqp://user:password@host:port/vhost?stream_port=5552`; what is left out is RabbitMQ's default.

    `user` and `password` go before those in the address. `trust` asks for `amqps://`.
    """
    tls = text.startswith("amqps:")
    try:
        parts = urlsplit(text)
        stream_port = int(parse_qs(parts.query).get("stream_port", ["5551" if tls else "5552"])[0])
        port = parts.port or (5671 if tls else 5672)
    except ValueError:
        parts, stream_port, port = urlsplit(""), 0, 0
    broken = "@" in f"{parts.path}{parts.query}{parts.fragment}"  # the rest of a password that was cut
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname or not port or not stream_port or broken:
        raise SettingsError("The address of RabbitMQ cannot be read.", remedy=f"Its form is {FORM}.")
    if trust is not None and not tls:
        raise SettingsError(
            "RabbitMQ has certificates in the settings, and an address without TLS.", safe="Nothing was connected.",
            remedy="Write amqps:// in [streams.rabbitmq] url, or leave the certificates out.",
        )  # fmt: skip
    return Address(
        parts.hostname, port, stream_port,
        user or unquote(parts.username or "guest"), password or unquote(parts.password or "guest"),
        unquote(parts.path[1:]) or "/", (trust or trusting()) if tls else None,
    )  # fmt: skip
