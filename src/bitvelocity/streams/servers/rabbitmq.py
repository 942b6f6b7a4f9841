"""RabbitMQ as one node with its stream plugin, for development and tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...processes import runs_in
from .local import Launch, Ports, Tell, missing

HOME = "BV_RABBITMQ_HOME"
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/rabbitmq/sbin")
"""Where packages put the script that runs in the foreground as whoever calls it (Debian's in /usr/sbin wants root)."""
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"


class RabbitServer:
    """The recipe of RabbitMQ: an Erlang node of its own name, which knows nobody, with its own `epmd`.

    `more` are further lines of rabbitmq.conf; `{amqp}` and the like in them are ports.
    """

    name = "rabbitmq"
    ports: Sequence[str] = ("amqp", "stream", "dist", "epmd")

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self._script, self._more = "", dict(more or {})

    def find(self, tell: Tell) -> None:  # noqa: ARG002 - the seam's
        self.look()

    def look(self) -> None:
        home = os.environ.get(HOME, "")
        folders = [f"{home}/sbin", f"{home}/bin", home] if home else [*PLACES]
        script = shutil.which("rabbitmq-server", path=os.pathsep.join(folders))
        if script is None or shutil.which("erl") is None or shutil.which("epmd") is None:
            raise missing(
                f"RabbitMQ's programs are not here: no rabbitmq-server in {', '.join(folders)}, or no Erlang.",
                f"On Debian: apt-get install rabbitmq-server. Or unpack RabbitMQ, install Erlang, and set {HOME}.",
            )
        self._script = script

    def prepare(self, folder: Path, ports: Ports) -> Launch:
        (folder / "rabbitmq.conf").write_text(_config(ports, self._more))
        (folder / "plugins").write_text("[rabbitmq_stream].\n")
        (folder / "env.conf").write_text("")
        env = _environment(folder, ports)
        # Erlang would start this by itself and leave it behind; of our own child we know the process.
        epmd = subprocess.Popen(
            ["epmd", "-port", str(ports["epmd"]), "-address", "127.0.0.1"], env={**os.environ, **env}, cwd=folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        (folder / "epmd.pid").write_text(str(epmd.pid))
        _ours[epmd.pid] = epmd
        return Launch([self._script], env)

    def ready(self, ports: Ports) -> bool:
        """It greets a client of AMQP, and listens for one of streams."""
        with socket.create_connection(("127.0.0.1", ports["amqp"]), timeout=5) as connection:
            connection.sendall(AMQP_HEADER)
            greeted = connection.recv(1) == b"\x01"
        with socket.create_connection(("127.0.0.1", ports["stream"]), timeout=5):
            return greeted

    def address(self, ports: Ports) -> str:
        return f"amqp://guest:guest@127.0.0.1:{ports['amqp']}/%2F?stream_port={ports['stream']}"

    def tidy(self, folder: Path) -> None:
        """End the `epmd` of this folder."""
        file = folder / "epmd.pid"
        if not file.exists():
            return
        pid = int(file.read_text() or 0)
        child = _ours.pop(pid, None)
        if child is not None:
            child.kill()
            child.wait()
        elif pid and runs_in(pid, folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        file.unlink()


_ours: dict[int, subprocess.Popen[bytes]] = {}
"""Children have to be waited for, or they stay as zombies."""


def _config(ports: Ports, more: Mapping[str, str]) -> str:
    lines: dict[str, object] = {
        "listeners.tcp.1": f"127.0.0.1:{ports['amqp']}",
        "stream.listeners.tcp.1": f"127.0.0.1:{ports['stream']}",
        "stream.advertised_host": "127.0.0.1",
        "stream.advertised_port": ports["stream"],
        "stream.frame_max": 1 << 24,  # a record of 1 MB has a frame of more
        "log.console": "true",
        "log.console.level": "warning",
        "log.file": "false",
        **{name: value.format(**ports) for name, value in more.items()},
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items())


def _environment(folder: Path, ports: Ports) -> dict[str, str]:
    return {
        "HOME": str(folder),  # the cookie of its distribution lies there
        "RABBITMQ_NODENAME": "bitvelocity@localhost",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),  # not the system's
        "RABBITMQ_PID_FILE": str(folder / "node.pid"),
        "RABBITMQ_DIST_PORT": str(ports["dist"]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
