"""What belongs to whom on this machine: locks that end with their process, processes by their folder, ports, memory."""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

_PORTS = range(10_240, 32_768)
"""Where ports of servers are looked for: above, Linux takes those that it gives to clients."""


def locked(handle: int) -> bool:
    """Lock an open file for as long as it is open, unless another has. The kernel lets go of it when we die, however."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def owned(file: Path) -> int | None:
    """The handle of a file that is ours until it is closed; None while another living process has it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    if locked(handle):
        return handle
    os.close(handle)
    return None


def runs_in(pid: int, folder: Path) -> bool:
    """The process runs, and on this folder: process ids are used again, above all in containers."""
    if Path("/proc/self/cwd").exists():
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
        except OSError:
            return False
    done = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return str(folder) in done.stdout


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody uses at this moment, all different.

    They are kept for the next start of a server, and no client may come by one meanwhile: so they are not those that
    the kernel gives to whoever asks for any.
    """
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(_PORTS, len(_PORTS)):
            if len(found) == count:
                break
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


def trim_memory() -> None:
    """Give back what was freed and is kept, after a moment of great need: each thread's heap keeps its own. Takes about 10 ms.

    Does nothing where libc is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
