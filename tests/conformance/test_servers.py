"""The local servers: found or refused with a remedy, killed and begun again on the same data, taken over, joined."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bitvelocity.errors import BusError
from bitvelocity.processes import free_ports
from bitvelocity.streams.servers import (
    MISSING,
    SERVERS,
    Launch,
    LocalServer,
    Ports,
    Tell,
    missing,
)

ECHO = """
import pathlib, socket, sys
with pathlib.Path("starts").open("a") as file:
    file.write("x")
if sys.argv[2] == "fails":
    sys.exit("ERROR: no such luck")
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        with server.accept()[0] as client:
            client.sendall(b"yes")
"""


class Echo:
    """The smallest server: it greets, and counts its starts."""

    name = "echo"
    ports = ("client",)

    def __init__(self, way: str = "works") -> None:
        self.way = way

    def look(self) -> None: ...

    def find(self, tell: Tell) -> None:
        if self.way == "missing":
            raise missing("There is no echo.", "Shout.")

    def prepare(self, folder: Path, ports: Ports) -> Launch:
        (folder / "echo.py").write_text(ECHO)
        return Launch([sys.executable, "echo.py", str(ports["client"]), self.way])

    def ready(self, ports: Ports) -> bool:
        with socket.create_connection(("127.0.0.1", ports["client"]), timeout=5) as connection:
            return connection.recv(3) == b"yes"

    def address(self, ports: Ports) -> str:
        return f"127.0.0.1:{ports['client']}"

    def tidy(self, folder: Path) -> None:
        (folder / "tidied").touch()


def test_killed_and_started_again_it_has_its_data_and_its_port(tmp_path: Path) -> None:
    with LocalServer(Echo(), tmp_path) as server:
        first, address = server.pid, server.address
        server.kill()
        assert server.pid is None
        assert server.start().pid not in (None, first)
        assert server.address == address
        assert (tmp_path / "starts").read_text() == "xx"
    assert server.pid is None
    assert not (tmp_path / "pid").exists()
    assert (tmp_path / "tidied").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "in the way").touch()
    with pytest.raises(BusError, match="in the way") as caught:
        LocalServer(Echo(), tmp_path / "in the way" / "echo").start()
    assert "can write" in str(caught.value.remedy)


def test_whoever_comes_while_it_runs_is_a_guest(tmp_path: Path) -> None:
    with LocalServer(Echo(), tmp_path) as server:
        with LocalServer(Echo(), tmp_path) as guest:
            assert guest.pid == server.pid
        assert server.pid is not None
        assert (tmp_path / "starts").read_text() == "x"


def test_a_server_whose_owner_was_killed_is_taken_over(tmp_path: Path) -> None:
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from bitvelocity.streams.servers import LocalServer
from tests.conformance.test_servers import Echo
LocalServer(Echo(), Path({str(tmp_path)!r})).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    orphan = int((tmp_path / "pid").read_text())
    with LocalServer(Echo(), tmp_path) as server:
        assert server.pid == orphan
    assert not Path(f"/proc/{orphan}/cwd").exists()


def test_one_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="echo did not start: ERROR: no such luck") as caught:
        LocalServer(Echo("fails"), tmp_path).start()
    assert caught.value.code == "ServerFailed"
    assert str(tmp_path / "log") in str(caught.value.remedy)


def test_one_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="There is no echo") as caught:
        LocalServer(Echo("missing"), tmp_path).start()
    assert caught.value.code == MISSING


def test_a_foreign_process_with_the_same_number_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert LocalServer(Echo(), tmp_path).pid is None


def test_ports_are_all_different() -> None:
    assert len(set(free_ports(5))) == 5


def test_without_java_or_maven_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("BV_KAFKA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BusError, match="needs Java 17") as caught:
        SERVERS["kafka"]().find(pytest.fail)
    assert "apt-get install default-jre-headless" in str(caught.value.remedy)
    (tmp_path / "java").write_text("#!/bin/sh\n")
    (tmp_path / "java").chmod(0o755)
    with pytest.raises(BusError, match="no Maven to fetch it") as caught:
        SERVERS["kafka"]().find(pytest.fail)
    assert "BV_KAFKA_HOME" in str(caught.value.remedy)
    monkeypatch.setenv("BV_KAFKA_HOME", str(tmp_path))
    with pytest.raises(BusError, match="no jars of a Kafka server"):
        SERVERS["kafka"]().find(pytest.fail)


def test_kafka_lives_through_a_kill(kafka_server: LocalServer) -> None:
    """Its readiness is an answer to a client; killed, it begins again on the same data and ports."""
    first, address = kafka_server.pid, kafka_server.address
    kafka_server.kill()
    assert kafka_server.start().pid not in (None, first)
    assert kafka_server.address == address
