"""The registry that `up` serves for those who read topics."""

from __future__ import annotations

import json
import socket
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from bitvelocity.errors import MissingExtraError
from bitvelocity.flow import open_registry, registry_beside
from bitvelocity.settings import RegistrySettings, RouteSettings, Settings


def asked(root: Path, port: int, *, wire: str = "avro", url: str = "") -> Settings:
    return Settings(root, registry=RegistrySettings(port=port, url=url), routes=(RouteSettings(name="feed", wire=wire),))


def test_it_serves_what_writers_registered_and_ends_with_up(tmp_path: Path) -> None:
    settings = asked(tmp_path, 0)
    with open_registry(settings) as writer, registry_beside(settings, print) as address:
        made = writer.ask("POST", "subjects/a-value/versions", {"schema": '"int"'})
        with urllib.request.urlopen(f"{address}/schemas/ids/{made['id']}", timeout=10) as answer:
            assert json.loads(answer.read())["schema"] == '"int"'
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) != 0


def test_a_port_that_is_taken_is_told_and_another_one_serves(tmp_path: Path) -> None:
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with registry_beside(asked(tmp_path, port), told.append) as address:
            assert f"Port {port} is taken" in told[0]
            assert address in told[0]


def test_topics_in_json_have_their_schemas_there_too(tmp_path: Path) -> None:
    streams = replace(asked(tmp_path, 0).streams, route="bus", wire="json")
    with registry_beside(replace(asked(tmp_path, 0), routes=(), streams=streams), print) as address:
        assert address.startswith("http://127.0.0.1:")


def test_topics_in_json_are_read_without_a_server_of_schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    streams = replace(asked(tmp_path, 0).streams, route="bus", wire="json")
    told: list[str] = []
    with registry_beside(replace(asked(tmp_path, 0), routes=(), streams=streams), told.append) as address:
        assert address == ""
    assert "pip install" in told[0]
    with pytest.raises(MissingExtraError), registry_beside(asked(tmp_path, 0), told.append):
        pass


def test_nobody_needs_it(tmp_path: Path) -> None:
    for settings in (asked(tmp_path, 0, wire="json"), asked(tmp_path, 0, url="http://r:1"), replace(asked(tmp_path, 0), routes=())):
        with registry_beside(settings, print) as address:
            assert address == ""
