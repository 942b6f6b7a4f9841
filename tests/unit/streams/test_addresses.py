"""Addresses of servers with passwords that no address can hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bitvelocity.errors import SettingsError
from bitvelocity.streams.nats.client import read_servers
from bitvelocity.streams.rabbitmq.address import parse_address
from bitvelocity.streams.tls import trusting


@pytest.mark.parametrize("read", [lambda text: read_servers([f"nats://{text}"]), lambda text: parse_address(f"amqp://{text}")])
@pytest.mark.parametrize("password", ["pa/ss", "pa#ss", "pa?ss", "12/ss", "[pass"])
def test_an_address_that_a_password_cuts_is_refused_and_not_shown(read: Callable[[str], object], password: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"me:{password}@there:1")
    assert password not in str(caught.value)
    assert "password" in str(caught.value.remedy)


def test_certificates_ask_for_tls() -> None:
    with pytest.raises(SettingsError, match="an address without TLS"):
        parse_address("amqp://there", trust=trusting())
