"""Logins of Kafka against the example of RFC 7677, and against brokers that are not who they say."""

from __future__ import annotations

import secrets
import struct

import pytest

from bitvelocity.streams.kafka.login import AUTHENTICATE, HANDSHAKE, Login, login_of

NONCE = "rOprNGfwEbeRWgbNEkqO"
FIRST = f"r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
LAST = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


class Broker:
    """Says what it was told to say."""

    def __init__(self, *words: str, error: int = 0, millis: int = 0) -> None:
        self.words, self.error, self.millis = list(words), error, millis
        self.heard: list[bytes] = []

    def __call__(self, command: int, version: int, fields: bytes) -> memoryview:
        assert version == 1
        if command == HANDSHAKE:
            self.heard.append(fields[2:])
            return memoryview(struct.pack("!hi", self.error, 0))
        assert command == AUTHENTICATE
        self.heard.append(fields[4:])
        word = self.words.pop(0).encode()
        return memoryview(struct.pack("!hhi", 0, -1, len(word)) + word + struct.pack("!q", self.millis))


@pytest.fixture(autouse=True)
def _known_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: NONCE)


def test_a_password_is_proved_and_the_broker_proves_that_it_knows_it() -> None:
    broker = Broker(FIRST, LAST, millis=60_000)
    assert Login("SCRAM-SHA-256", "user", "pencil").enter(broker) == 60
    assert broker.heard == [
        b"SCRAM-SHA-256", f"n,,n=user,r={NONCE}".encode(),
        f"c=biws,{FIRST.split(',', maxsplit=1)[0]},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "why"), [((FIRST, "v=AAAA"), "does not know"), ((FIRST.replace("rOpr", "sOpr"), LAST), "somebody else")]
)
def test_a_broker_that_is_another_is_not_trusted(words: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Login("SCRAM-SHA-256", "user", "pencil").enter(Broker(*words))


def test_a_password_is_told_and_shown_nowhere() -> None:
    login, broker = Login("PLAIN", "user", "pencil"), Broker("")
    assert login.enter(broker) is None
    assert broker.heard == [b"PLAIN", b"\0user\0pencil"]
    assert "pencil" not in repr(login)
    with pytest.raises(ValueError, match="another kind"):
        login.enter(Broker("", error=33))


def test_which_logins_are_known() -> None:
    told = {"security.protocol": "SASL_SSL", "sasl.mechanisms": "scram-sha-512", "sasl.username": "u", "sasl.password": "p"}
    assert login_of(told) == Login("SCRAM-SHA-512", "u", "p")
    assert login_of({"security.protocol": "SSL", "sasl.username": "u"}) is None
    for more in ({"sasl.mechanisms": "GSSAPI"}, {"sasl.password": "ß"}, {"sasl.oauthbearer.config": "x"}):
        with pytest.raises(LookupError):
            login_of({**told, **more})
