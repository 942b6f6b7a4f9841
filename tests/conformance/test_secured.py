"""Brokers with TLS on both sides, users and rights: named in bitvelocity.toml, and what is refused is told in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conformance.buses import assert_once, numbered, placed, polled, total, whole
from tests.conformance.secured import PASSWORD, Secured, secured
from tests.conformance.servers import started

from bitvelocity.cli import main
from bitvelocity.errors import BitVelocityError, BusError, BusLostError
from bitvelocity.flow import open_bus
from bitvelocity.settings import load_settings
from bitvelocity.streams import Bus, Topic
from bitvelocity.streams.kafka import KafkaBus
from bitvelocity.streams.nats import Login, NatsBus
from bitvelocity.streams.servers import LocalServer, NatsServer

NAMES = ("kafka", "nats", "rabbitmq")
TLS = '''
ca = "{ca}"
certificate = "client.pem"
key = "client.key"
'''
SETTINGS = {
    "kafka": '''
[streams.kafka]
bootstrap = "{host}:{port}"
[streams.kafka.client]
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = "{user}"
sasl.password = "${{SECRET}}"
ssl.ca.location = "{ca}"
ssl.certificate.location = "client.pem"
ssl.key.location = "client.key"
''',
    "nats": '''
[streams.nats]
url = "tls://{host}:{port}"
user = "{user}"
password = "${{SECRET}}"
''' + TLS,
    "rabbitmq": '''
[streams.rabbitmq]
url = "amqps://{host}:{port}/shop%20floor?stream_port={streams}"
user = "{user}"
password = "${{SECRET}}"
''' + TLS,
}  # fmt: skip
TOPIC = "shop.orders"
ENTITIES = '''
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
'''


@pytest.fixture(scope="module", params=NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[Secured]:
    with secured(request.param) as one:
        yield one


def written(server: Secured, bus: str = "", *, user: str = "shop", ca: str = "ca.pem", host: str = "127.0.0.1") -> str:
    """The settings; the password is in the environment."""
    streams = server.server.ports.get("streams", 0)
    text = SETTINGS[server.name].format(host=host, port=server.port, user=user, ca=ca, streams=streams)
    return f'[streams]\nbus = "{bus or server.name}"\n{text}'


def opened(
    server: Secured, bus: str = "", *, user: str = "shop", password: str = PASSWORD, ca: str = "ca.pem", host: str = "127.0.0.1"
) -> Bus:  # fmt: skip
    """As a project names it, whose folder is that of the certificates."""
    (server.certificates / "bitvelocity.toml").write_text(written(server, bus, user=user, ca=ca, host=host))
    settings = load_settings(server.certificates, {"SECRET": password})
    assert password not in repr(settings)
    return open_bus(settings)


def refused(server: Secured, bus: str = "", **wanted: str) -> BitVelocityError:
    """What is told of a bus that cannot be opened, or used: soon, and for a person."""
    began = time.monotonic()
    with pytest.raises(BusError) as caught, closing(opened(server, bus, **wanted)) as one:
        one.ensure(Topic(name="shop.refused"))
    assert time.monotonic() - began < 10, "a refusal is no silence"
    assert caught.value.retry == "person", caught.value
    assert wanted.get("password", PASSWORD) not in f"{caught.value} {caught.value.as_dict()} {caught.value.__cause__!r}"
    return caught.value


def test_records_go_there_and_back(server: Secured, caplog: pytest.LogCaptureFixture) -> None:
    with closing(opened(server)) as bus:
        bus.ensure(Topic(name=TOPIC))
        for number in range(10):
            bus.append(TOPIC, numbered(number, number + 1))
            bus.spans(TOPIC)  # writes and reads at once: over TLS each has its turn
        publisher = bus.publisher("shop")
        publisher.publish({TOPIC: placed(10, 20)})
        publisher.close()
        assert_once(whole(bus, TOPIC, 20), range(20))
        if isinstance(bus, KafkaBus):  # through the same door, and without the client
            fetching = bus._readers._direct
            assert fetching is not None
            assert fetching._idle
            assert not fetching._away
        member = bus.member("readers", [TOPIC])
        assert total(polled([member], lambda got: total(got) >= 20)) == 20
        member.close()
    assert "eof_received" not in caplog.text, "the end of a connection is nobody's warning"


def test_a_wrong_password_is_told(server: Secured) -> None:
    error = refused(server, password="not-the-password")
    assert "password" in str(error.remedy)


def test_an_unknown_authority_is_told(server: Secured) -> None:
    assert "certificate" in str(error := refused(server, ca="other.pem"))
    assert "ca" in str(error.remedy)


def test_the_certificate_of_another_host_is_told(server: Secured) -> None:
    assert "certificate" in str(refused(server, host="localhost"))


def test_a_right_that_is_missing_is_told(server: Secured) -> None:
    error = refused(server, user="guest")
    wanted = {"kafka": "CREATE", "nats": "$js.api.stream.info", "rabbitmq": "set_permissions"}
    assert wanted[server.name] in str(error)


@pytest.mark.parametrize("server", ["rabbitmq"], indirect=True)
def test_work_that_is_acknowledged_goes_over_tls(server: Secured) -> None:
    with closing(opened(server, "rabbitmq-queues")) as bus:
        bus.ensure(Topic(name="mails"))
        bus.append("mails", numbered(0, 5))
        assert_once(whole(bus, "mails", 5), range(5))
    for wrong, said in (
        ({"password": "not-the-password"}, "password"), ({"ca": "other.pem"}, "ca"), ({"host": "localhost"}, "name"),
        ({"user": "guest"}, "set_permissions"),
    ):  # fmt: skip
        assert said in str(refused(server, "rabbitmq-queues", **wrong).remedy)


def test_files_that_are_missing_are_told(server: Secured) -> None:
    with pytest.raises(BitVelocityError, match=r"nowhere\.pem") as caught, closing(opened(server, ca="nowhere.pem")) as bus:
        bus.topics()
    assert caught.value.retry == "person"
    assert Path(server.certificates).name in str(caught.value), "paths begin at the project"


@pytest.mark.parametrize("server", ["kafka"], indirect=True)
@pytest.mark.parametrize("password", [PASSWORD, "not-the-password"])
def test_a_plain_login_over_tls(server: Secured, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setitem(SETTINGS, "kafka", SETTINGS["kafka"].replace("SCRAM-SHA-512", "PLAIN"))
    if password != PASSWORD:
        assert "password" in str(refused(server, password=password).remedy)
        return
    with closing(opened(server)) as bus:
        bus.ensure(Topic(name="shop.plain"))
        bus.append("shop.plain", numbered(0, 5))
        assert_once(whole(bus, "shop.plain", 5), range(5))


@pytest.mark.parametrize("server", ["kafka"], indirect=True)
def test_a_port_that_speaks_tls_is_guessed(server: Secured) -> None:
    """Asked without TLS it says nothing at all, so that it might as well be away."""
    bus = KafkaBus(f"127.0.0.1:{server.port}", patience=1)
    with closing(bus), pytest.raises(BusLostError) as caught:
        bus.topics()
    assert "security.protocol" in str(caught.value.remedy)


def test_no_password_goes_to_a_nats_without_tls(nats_server: LocalServer) -> None:
    there = nats_server.address.replace("nats://", "tls://")
    with closing(NatsBus(there, login=Login(user="shop", password=PASSWORD))) as bus, pytest.raises(BusError) as caught:
        bus.topics()
    assert (caught.value.code, caught.value.safe) == ("TlsRefused", "No password was sent.")


def test_a_token_lets_us_in() -> None:
    with started("nats", NatsServer('authorization { token: "a-token" }\n')) as server:
        with closing(NatsBus(server.address, login=Login(token="a-token"))) as bus:
            assert bus.topics() == {}
        with closing(NatsBus(server.address, login=Login(token="another"))) as bus, pytest.raises(BusError) as caught:
            bus.topics()
    assert caught.value.code == "LoginRefused"
    assert "another" not in f"{caught.value} {caught.value.__cause__!r} {Login(token='another')!r}"


@pytest.mark.parametrize("server", ["nats"], indirect=True)
def test_commands_say_what_is_wrong_and_no_secret(
    server: Secured, open_folder: Path, database: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A password that was changed: what status and doctor say of the bus."""
    monkeypatch.setenv("SECRET", wrong := "a-password-of-yesterday")
    monkeypatch.chdir(open_folder)
    (open_folder / "entities.py").write_text(ENTITIES)
    text = written(server, "nats", ca=str(server.certificates / "ca.pem")).replace("client.", f"{server.certificates}/client.")
    more = f'\n[database]\ndsn = "{database}"\n[capture]\nslot = "secured"\n[[routes]]\nname = "out"\nwire = "json"\n'
    (open_folder / "bitvelocity.toml").write_text(text.replace("[streams]", '[streams]\nroute = "bus"') + more)
    said = ""
    for words in (["status"], ["status", "--json"], ["doctor"]):
        with pytest.raises(SystemExit):
            main(words)
        said += "".join(capfd.readouterr())
    assert "does not let us in" in said
    assert "[streams.nats]" in said
    assert wrong not in said
