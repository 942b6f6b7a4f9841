#!/usr/bin/env python3
"""Everything a clone needs, from Python's standard library alone: makes `.venv`, then runs the command in it.

    ./dev.py demo [--all ...]     see it work: PostgreSQL, capture, lakehouse, and the proof
    ./dev.py test [-k x ...]      the tests (pytest)
    ./dev.py lint                 ruff, mypy, import contracts, sizes
    ./dev.py check [...]          lint, then test: what CI does
    ./dev.py bench [name ...]     list the benchmarks, or run one
    ./dev.py docs [--check]       write the pages of docs/ that are made from the code
    ./dev.py install [--newest]   make or mend .venv, and stop there; --newest takes what the index has today,
                                  and writes constraints.txt, for you to test and commit

Further words go to the command. Only `.venv` and what the command makes are written, all inside this folder.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python must be able to read this far, to be told
    sys.exit(
        f"error: BitVelocity needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.\n"
        "  Remedy: start it with a newer one, for example: python3.12 dev.py demo"
    )

import ast
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MADE = VENV / "made-by-dev.py"
"""Which Python made the venv, and where: scripts in `.venv/bin` carry that place in their first line."""
INSTALLED = VENV / "installed"
"""The extra that was installed last, and the pyproject.toml and versions that it came from."""
LOG = VENV / "install.log"
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = ("demo", "dev")
"""Each holds what the ones before it hold."""


class Stop(Exception):  # noqa: N818 - it ends the program, which need not be an error
    """What happened, and what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"error: {what}\n  Remedy: {remedy}")


# ---- commands -----------------------------------------------------------------------------------------------


def demo(words: list[str]) -> int:
    install("demo")
    return become("-m", "bitvelocity", "demo", *words)


def test(words: list[str]) -> int:
    install("dev")
    return become(*PYTEST, *words)


def lint(words: list[str]) -> int:
    refuse("lint", words)
    install("dev")
    return run_all(LINT)


def check(words: list[str]) -> int:
    install("dev")
    return run_all(LINT, {"tests": [*PYTEST, "-q", *words]})


def bench(words: list[str]) -> int:
    scripts = {path.stem: path for path in sorted((ROOT / "bench").glob("*.py")) if "__main__" in path.read_text()}
    if not words:
        print("./dev.py bench NAME [...]", *(f"  {name:20} {promise(scripts[name])}" for name in scripts), sep="\n")
        return 0
    if words[0] not in scripts:
        raise Stop(f"there is no bench/{words[0]}.py", f"One of: {', '.join(scripts) or '(none yet)'}.")
    install("dev")
    return become(str(scripts[words[0]]), *words[1:])


def docs(words: list[str]) -> int:
    install("dev")
    return become("docs/render.py", *words)


def reinstall(words: list[str]) -> int:
    newest = words == ["--newest"]
    if not newest:
        refuse("install", words)
    INSTALLED.unlink(missing_ok=True)
    install("dev", newest=newest)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "demo": demo,
    "test": test,
    "lint": lint,
    "check": check,
    "bench": bench,
    "docs": docs,
    "install": reinstall,
}

PYTEST = ["-m", "pytest", "-n", "4", "--dist", "worksteal"]
"""More workers than two cores, for a test waits for its server half of its time. Each worker has a PostgreSQL of its own, and
begins with a run of neighbours, so that what a file shares is made once. `-n 0` among the further words runs without."""

LINT = {
    "ruff": ["-m", "ruff", "check"],
    "mypy": ["-m", "mypy"],
    "imports": [str(VENV / "bin" / "lint-imports"), "--no-logo"],
    "sizes": ["tests/house/test_size.py"],
}


def main(words: list[str]) -> int:
    """Run one command. Its exit code is ours; used wrongly is 2, Ctrl-C 130."""
    if not words or words[0] in ("-h", "--help", "help"):
        print((__doc__ or "").strip())
        return 0
    try:
        return command(words[0])(words[1:])
    except Stop as stop:
        print(stop, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130


def command(name: str) -> Callable[[list[str]], int]:
    if name not in COMMANDS:
        raise Stop(f"there is no command {name!r}", f"One of: {', '.join(COMMANDS)}.")
    return COMMANDS[name]


def refuse(command: str, words: list[str]) -> None:
    if words:
        raise Stop(f"{command} takes no further words, and got: {' '.join(words)}", "Leave them out.")


def promise(script: Path) -> str:
    """The first line of its docstring."""
    return (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").partition("\n")[0]


# ---- running ------------------------------------------------------------------------------------------------


def become(*arguments: str) -> NoReturn:
    """Go on as the venv's Python, so that signals and exit code are the tool's own."""
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), *arguments])  # noqa: S606 - a shell is what we do not want


def run_all(*turns: dict[str, list[str]]) -> int:
    """Run every step, also after one that failed; then say which did, and how long each took.

    The steps of one turn run beside each other, and each says what it has to say when it has ended.
    """
    results: list[tuple[str, int, float]] = []
    for steps in turns:
        with ThreadPoolExecutor(len(steps)) as pool:
            results += pool.map(partial(run_step, alone=len(steps) == 1), steps, steps.values())
    print("---")
    for name, code, seconds in results:
        print(f"{name:10} {f'FAILED ({code})' if code else 'ok':12} {seconds:6.1f} s")
    return int(any(code for _, code, _ in results))


def run_step(name: str, arguments: list[str], *, alone: bool) -> tuple[str, int, float]:
    began, head = time.monotonic(), f"--- {name}\n"
    if alone:
        print(head, end="", flush=True)
    said = None if alone else subprocess.PIPE
    done = subprocess.run([str(PYTHON), *arguments], stdout=said, stderr=said and subprocess.STDOUT, text=True, check=False)
    if not alone:
        print(f"{head}{done.stdout}", end="", flush=True)
    return name, done.returncode, time.monotonic() - began


# ---- the virtual environment --------------------------------------------------------------------------------


def install(extra: str, *, newest: bool = False) -> None:
    """Make `.venv` hold this clone with an extra. Once it does, two small files say so and nothing else is done.

    Libraries come in the versions of constraints.txt, which the tests were run with: a clone of last month works
    today as it did then. `newest` asks the index instead, and writes the file anew.
    """
    os.chdir(ROOT)
    if is_installed(extra):
        return
    if os.name != "posix":
        raise Stop("dev.py knows Linux and macOS only.", "On Windows use WSL 2.")
    with only_one_at_a_time():
        if is_installed(extra):
            return
        began = time.monotonic()
        print(f"Preparing .venv with the extra {extra!r}, once: about 900 MB, a minute or so.", flush=True)
        INSTALLED.unlink(missing_ok=True)
        uv = shutil.which("uv")
        if not is_made():
            make_venv(uv)
        versions = ["--upgrade"] if newest else ["--constraint", str(CONSTRAINTS)]
        run_installer([*(uv_pip(uv) if uv else pip()), *versions, "--editable", f".[{extra}]"])
        if newest:
            write_constraints()
        INSTALLED.write_text(f"{extra} {project()}", encoding="utf-8")
        print(f"Ready after {time.monotonic() - began:.0f} s.\n", flush=True)


def is_made() -> bool:
    """The venv was made by this Python, in this place, and its Python is still there."""
    return PYTHON.exists() and MADE.exists() and MADE.read_text(encoding="utf-8") == place()


def is_installed(extra: str) -> bool:
    """The last installation was of this pyproject.toml, of these versions, and of at least this extra."""
    if not (is_made() and INSTALLED.exists()):
        return False
    installed, _, source = INSTALLED.read_text(encoding="utf-8").partition(" ")
    return source == project() and EXTRAS.index(installed) >= EXTRAS.index(extra)


def place() -> str:
    return f"{ROOT}\n{sys.version}\n"


def project() -> str:
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes()).hexdigest()


def write_constraints() -> None:
    """What `.venv` holds, as versions for the next clone."""
    done = subprocess.run([PYTHON, "-c", LIST_VERSIONS], capture_output=True, text=True, check=True)
    CONSTRAINTS.write_text(CONSTRAINTS_HEAD + done.stdout, encoding="utf-8")


LIST_VERSIONS = """
import re
from importlib.metadata import distributions
held = {re.sub(r"[-_.]+", "-", found.name).lower(): found.version for found in distributions()}
print(*(f"{name}=={version}" for name, version in sorted(held.items()) if name not in ("bitvelocity", "pip")), sep="\\n")
"""
CONSTRAINTS_HEAD = """\
# The versions that the tests were run with; dev.py installs these. Written by ./dev.py install --newest.
# A package that is installed by itself takes what pyproject.toml allows.
"""


@contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Two terminals may start at once: the second waits, and finds everything done."""
    import fcntl

    with Path(__file__).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another dev.py, which is preparing .venv.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_venv(uv: str | None) -> None:
    """An empty venv without pip in it: Debian's Python can make that one without `python3-venv`."""
    if VENV.exists() and not MADE.exists():
        raise Stop(f"{VENV} is there already, and dev.py did not make it.", "Move it away, then run this again.")
    VENV.mkdir(exist_ok=True)
    MADE.write_text("not finished", encoding="utf-8")  # so that we know it as ours, wherever we are stopped
    for path in VENV.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != MADE:
            path.unlink()
    command = [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable] if uv else VENV_MODULE
    done = subprocess.run([*command, str(VENV)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip()
        raise Stop(f"no virtual environment could be made: {reason}", f"Check that {ROOT} can be written to.")
    MADE.write_text(place(), encoding="utf-8")


VENV_MODULE = [sys.executable, "-m", "venv", "--without-pip"]


def uv_pip(uv: str) -> list[str]:
    return [uv, "pip", "install", "--python", str(PYTHON)]


def pip() -> list[str]:
    """This Python's pip, working on the venv; else the one that `ensurepip` brings.

    pip of 22.3 and later can work on another Python; inside a venv PEP 668 has no say. Compiling every file in
    advance would take as long as all the rest, and most are never read.
    """
    os.environ["PIP_USER"] = "0"
    options = ["install", "--no-input", "--no-compile", "--disable-pip-version-check", "--progress-bar", "off"]
    if pip_version() >= (22, 3):
        return [sys.executable, "-m", "pip", "--python", str(PYTHON), *options]
    if find_spec("ensurepip") is None:
        raise Stop(
            f"{sys.executable} has neither pip (22.3 or newer) nor ensurepip, and there is no uv.",
            "Install one of them, on Debian: apt-get install python3-pip",
        )
    subprocess.run([PYTHON, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL, check=True)
    return [str(PYTHON), "-m", "pip", *options]


def pip_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in re.findall(r"\d+", version("pip"))[:2])
    except PackageNotFoundError:
        return (0, 0)


def run_installer(command: list[str]) -> None:
    """Run pip or uv: all that it says goes to a log, what it is at goes to the terminal."""
    last: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as installer:
        assert installer.stdout
        with LOG.open("w", encoding="utf-8") as log:
            try:
                for line in installer.stdout:
                    log.write(line)
                    last = [*last[-100:], line]
                    show(line.strip())
            except KeyboardInterrupt:
                installer.terminate()
                raise
    show("")
    if installer.returncode:
        raise explain("".join(last))


def show(line: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)


TROUBLES = (
    (
        r"No space left on device",
        "the disk is full",
        "Make room for about 1 GB (the packages, and pip's own cache).",
    ),
    (
        r"NewConnectionError|NameResolution|name resolution|unreachable|[Tt]imed out|ProxyError|SSLError|CERTIFICATE"
        r"|Connection (?:refused|reset)|dns error|error sending request|client error \(Connect\)",
        "the package index cannot be reached",
        "Check the network and HTTPS_PROXY; for a mirror set PIP_INDEX_URL (uv: UV_DEFAULT_INDEX). Then run the "
        "same command again: what came down already is kept.",
    ),
    (
        r"No matching distribution|not a supported wheel|No solution found|no wheels with a matching",
        "a package has no build for this Python and platform",
        "Use Python 3.11 to 3.13 on Linux (glibc 2.28 or newer) or macOS; the log names the package.",
    ),
    (
        r"Permission denied|EACCES",
        "a file may not be written",
        f"Make {ROOT} yours (sudo chown -R $USER .), or clone to a folder that is.",
    ),
)


UNKNOWN_TROUBLE = (r"(?i)error", "the installer stopped", f"Read {LOG}, mend it, then run the same command again.")


def explain(output: str) -> Stop:
    """The installer's lines that matter, and which of the usual troubles they tell of."""
    known = (trouble for trouble in TROUBLES if re.search(trouble[0], output))
    pattern, what, remedy = next(known, UNKNOWN_TROUBLE)
    telling = [line.strip() for line in output.splitlines() if re.search(pattern, line)]
    told = "\n".join(f"  | {line}" for line in telling[-4:])
    return Stop(f"{what}:\n{told}\n  All of it: {LOG}", remedy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
