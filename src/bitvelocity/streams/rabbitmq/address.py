"""Where a RabbitMQ is: one address for both of its protocols."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from ...errors import SettingsError

FORM = "amqp://user:password@host:5672/vhost?stream_port=5552 (amqps:// for TLS)"


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. The password is never shown."""

    host: str
    port: int
    stream_port: int
    user: str
    password: str
    vhost: str
    tls: bool

    def __repr__(self) -> str:
        return f"{'amqps' if self.tls else 'amqp'}://{self.host}:{self.port}/{self.vhost}"


def parse_address(text: str) -> Address:
    """`amqp://user:password@host:port/vhost?stream_port=5552`; what is left out is RabbitMQ's default."""
    parts = urlsplit(text)
    tls = parts.scheme == "amqps"
    try:
        stream_port = int(parse_qs(parts.query).get("stream_port", ["5551" if tls else "5552"])[0])
        port = parts.port or (5671 if tls else 5672)
    except ValueError:
        stream_port = port = 0
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname or not port or not stream_port:
        raise SettingsError("The address of RabbitMQ cannot be read.", remedy=f"Its form is {FORM}.")
    vhost = unquote(parts.path[1:]) or "/"
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    return Address(parts.hostname, port, stream_port, user, password, vhost, tls)
