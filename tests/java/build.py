"""The real Debezium, ready to run: fetch its jars through Maven, compile what lies here, print the command as JSON.

    python tests/java/build.py            {"java": ["java", "-cp", ...], "debezium": "3.6.3.Final"}; add Peer or Check
    python tests/java/build.py registry   and "registry": ["java", "-jar", ...], Apicurio's registry (142 MB)

Jars and classes are kept beside the environment that runs this (`.venv/debezium-...`): a second call does nothing.
Exit code 3: a JDK of 17 or newer, or Maven, is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
"""One that can unpack what no pom names."""
MISSING = 3
TOOLS = {"java": "default-jre-headless", "javac": "default-jdk-headless", "mvn": "maven"}
"""What is needed, and the package of Debian that has it."""


def main() -> int:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(TOOLS[tool] for tool in missing)
        print(f"error: there is no {', '.join(missing)}.\n  Remedy: apt-get install {packages}", file=sys.stderr)
        return MISSING
    told = {"java": command(), "debezium": version("debezium")}
    if "registry" in sys.argv[1:]:
        told["registry"] = registry()
    print(json.dumps(told))
    return 0


def command() -> list[str]:
    """The words before a class; jars and classes are there when it returns."""
    with locked(Path(sys.prefix) / f"debezium-{version('debezium')}") as folder:
        jars = kept(folder / "lib", [POM], ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
                                            "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"])  # fmt: skip
        sources = sorted(HERE.glob("*.java"))
        classes = kept(folder / "classes", [POM, *sources], ["javac", "-Xlint:all", "-Werror", "-encoding", "UTF-8",
                       "-d", str(folder / "classes"), "-cp", f"{jars}/*", *map(str, sources)])  # fmt: skip
    return ["java", "-cp", f"{classes}:{jars}/*"]


def registry() -> list[str]:
    """The words that run Apicurio's registry; it is there when this returns."""
    name = f"apicurio-registry-app-{version('apicurio')}"
    with locked(Path(sys.prefix) / name) as folder:
        artifact = f"io.apicurio:apicurio-registry-app:{version('apicurio')}:tar.gz:all"
        kept(folder / "unpacked", [POM], ["mvn", "-q", "-B", f"{DEPENDENCY_PLUGIN}:unpack", f"-Dartifact={artifact}",
                                          f"-DoutputDirectory={folder / 'unpacked'}"])  # fmt: skip
    return ["java", "-jar", str(folder / "unpacked" / f"{name}-runner.jar")]


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """`folder`, for one at a time: several test workers ask at once."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def version(what: str) -> str:
    """The version that the pom names."""
    found = re.search(rf"<{what}.version>(.+?)</", POM.read_text(encoding="utf-8"))
    assert found
    return found[1]


def kept(folder: Path, made_of: list[Path], words: list[str]) -> Path:
    """`folder`, as `words` make it of these files; made anew when one of them is another."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_of)).hexdigest()
    stamp = folder.with_suffix(".made")
    if not (stamp.exists() and stamp.read_text() == digest):
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run(words, cwd=folder.parent, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"error: {words[0]} failed.\n{done.stdout}{done.stderr}")
        stamp.write_text(digest)
    return folder


if __name__ == "__main__":
    sys.exit(main())
