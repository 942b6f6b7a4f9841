"""Programs of Python in processes of their own that need not import everything first: forked from one that has.

A start that imports the pipeline anew takes 2 to 3 CPU seconds, a fork a tenth of that.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "bitvelocity.flow.supervisor", "bitvelocity.lakehouse.gold", "bitvelocity.serving", "bitvelocity.cli", "tests.crash.victim",
        "tests.conformance.buses", "bitvelocity.streams.kafka", "bitvelocity.streams.nats", "bitvelocity.streams.rabbitmq",
        "bitvelocity.streams.registry",
    ]
)


def python(
    *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """As `python -c CODE ...`, `python -m MODULE ...` or `python FILE ...`, run to its end; `env` is added to ours."""
    with tempfile.TemporaryDirectory() as folder:
        process = started(*words, into=folder, cwd=cwd, env=env)
        process.join()
        out, err = (path.read_text() if (path := Path(folder) / name).exists() else "" for name in ("out", "err"))
        assert process.exitcode is not None
        return subprocess.CompletedProcess(words, process.exitcode, out, err)


def started(*words: str, into: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> ForkServerProcess:
    """The same, running; what it says comes into the files `out` and `err` of the folder `into`."""
    place, environment = str(cwd or Path.cwd()), {**os.environ, **(env or {})}
    process = FORKS.Process(target=_live, args=(words, into, place, environment))
    process.start()
    return process


class Talking:
    """The same, running; what it says is read from `stdout` as it says it. `end` it with the test."""

    def __init__(self, *words: str, cwd: Path) -> None:
        self._errors = tempfile.TemporaryDirectory()
        reader, writer = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(
            target=_live, args=(words, self._errors.name, str(cwd), dict(os.environ), writer), daemon=True
        )
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()))
        reader.close()

    def kill(self) -> None:
        self._process.kill()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def ended(self) -> int:
        """Read to its end, and wait for it; its exit code."""
        for _ in self.stdout:
            pass
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def end(self) -> None:
        """Kill it if it runs, and tell what it said of its errors."""
        self._process.kill()
        self._process.join()
        self.stdout.close()
        sys.stderr.write((Path(self._errors.name) / "err").read_text())
        self._errors.cleanup()


def _live(
    words: tuple[str, ...], folder: str, place: str, environment: Mapping[str, str], out: Connection | None = None
) -> None:
    for descriptor, name in ((1, "out"), (2, "err")):
        if descriptor == 1 and out is not None:
            os.dup2(out.fileno(), descriptor)
            out.close()
            continue
        file = os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", 1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(place)
    match words:
        case ("-c", code, *rest):
            sys.argv = ["-c", *rest]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case ("-m", module, *rest):
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case (path, *rest):
            sys.argv = [path, *rest]
            runpy.run_path(path, run_name="__main__")
