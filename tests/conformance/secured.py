"""Servers as they stand in companies: TLS with certificates on both sides, users with passwords, and one who may do little.

`shop` may do all that a bus needs, `guest` may log in and read. Beside the secured door Kafka and RabbitMQ keep a plain one for
the recipe itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.certificates import make_certificates
from tests.conformance.servers import started

from bitvelocity.streams.servers import KafkaServer, LocalServer, NatsServer, RabbitServer, Recipe

PASSWORD = "p@ss/wo:rd#1%41"
"""With all that an address cannot hold as it is."""


class SecuredKafka(KafkaServer):
    ports = (*KafkaServer.ports, "secure")


class SecuredRabbit(RabbitServer):
    ports = (*RabbitServer.ports, "amqps", "streams")


@dataclass(frozen=True)
class Secured:
    """A secured server, and where its certificates are."""

    name: str
    server: LocalServer
    certificates: Path

    @property
    def port(self) -> int:
        return self.server.ports[{"kafka": "secure", "nats": "client", "rabbitmq": "amqps"}[self.name]]


@contextmanager
def secured(name: str) -> Iterator[Secured]:
    with tempfile.TemporaryDirectory(prefix="bv-certificates-") as folder:
        certificates = Path(folder)
        make_certificates(certificates)
        with started(name, _RECIPES[name](certificates)) as server:
            yield Secured(name, server, certificates)


def _kafka(at: Path) -> Recipe:
    """The broker itself, and the tests' own administrator, come by the plain door."""
    scram = [f"--add-scram=SCRAM-SHA-512=[name={user},password={PASSWORD}]" for user in ("shop", "guest")]
    together = at / "server-both.pem"
    together.write_text((at / "server.key").read_text() + (at / "server.pem").read_text())
    more = {
        "listeners": "PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{secure}",
        "advertised.listeners": "PLAINTEXT://127.0.0.1:{client},SASL_SSL://127.0.0.1:{secure}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(together),
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(at / "ca.pem"),
        "ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        "listener.name.sasl_ssl.plain.sasl.jaas.config":
            f'org.apache.kafka.common.security.plain.PlainLoginModule required user_shop="{PASSWORD}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:shop",
    }  # fmt: skip
    return SecuredKafka(more, scram)


def _nats(at: Path) -> Recipe:
    return NatsServer(f"""
tls {{ cert_file: "{at / "server.pem"}", key_file: "{at / "server.key"}", ca_file: "{at / "ca.pem"}", verify: true }}
authorization {{
    users = [
        {{ user: shop, password: "{PASSWORD}" }}
        {{ user: guest, password: "{PASSWORD}", permissions: {{ publish: "nothing", subscribe: ">" }} }}
    ]
}}
""")


def _rabbitmq(at: Path) -> Recipe:
    definitions = {
        "users": [{"name": user, "password_hash": _salted(PASSWORD), "hashing_algorithm": "rabbit_password_hashing_sha256",
                   "tags": ""} for user in ("shop", "guest")],
        "vhosts": [{"name": "/"}, {"name": "shop floor"}],
        "permissions": [
            {"user": "shop", "vhost": "shop floor", "configure": ".*", "write": ".*", "read": ".*"},
            {"user": "guest", "vhost": "shop floor", "configure": "", "write": "", "read": ".*"},
        ],
    }  # fmt: skip
    (at / "definitions.json").write_text(json.dumps(definitions))
    return SecuredRabbit({
        "load_definitions": str(at / "definitions.json"),
        "listeners.ssl.1": "127.0.0.1:{amqps}", "stream.listeners.ssl.1": "127.0.0.1:{streams}",
        "stream.advertised_tls_host": "127.0.0.1", "stream.advertised_tls_port": "{streams}",
        "ssl_options.cacertfile": str(at / "ca.pem"), "ssl_options.certfile": str(at / "server.pem"),
        "ssl_options.keyfile": str(at / "server.key"), "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
    })  # fmt: skip


def _salted(password: str) -> str:
    salt = b"salt"
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


_RECIPES: Mapping[str, Callable[[Path], Recipe]] = {"kafka": _kafka, "nats": _nats, "rabbitmq": _rabbitmq}
