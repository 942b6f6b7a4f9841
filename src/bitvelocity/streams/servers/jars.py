"""Kafka's jars: an installation that is there (`BV_KAFKA_HOME`), or those that Maven brings once into the user's cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from ...errors import BusError
from .local import Tell, missing

VERSION = "4.2.0"
HOME = "BV_KAFKA_HOME"
OTHER = f"Or unpack Kafka from kafka.apache.org and set {HOME} to its folder."

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bitvelocity</groupId>
  <artifactId>kafka-server</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.3</version></dependency>
  </dependencies>
</project>
"""


def kafka_jars(tell: Tell) -> Path:
    """The folder of the jars; fetched first where they are not there yet."""
    found = look_for_jars()
    if found is None:
        _fetch(_fetched(), tell)
    return found or _fetched() / "lib"


def look_for_jars() -> Path | None:
    """Their folder; None: Maven can fetch them. If it cannot, that is raised."""
    home = os.environ.get(HOME, "")
    if home:
        return _installed(Path(home))
    if (_fetched() / "whole").exists():
        return _fetched() / "lib"
    if shutil.which("mvn") is None:
        raise missing(
            f"Kafka {VERSION} is not here yet, and there is no Maven to fetch it.",
            f"On Debian: apt-get install maven default-jre-headless. {OTHER}",
        )
    return None


def java() -> str:
    """The program `java`, of `JAVA_HOME` or the path."""
    home = os.environ.get("JAVA_HOME", "")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise missing(
            "Kafka needs Java 17 or newer, and there is no `java`.",
            "On Debian: apt-get install default-jre-headless. Or set JAVA_HOME.",
        )
    return found


def cache_folder() -> Path:
    """Where things that were fetched once are kept, for all projects of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitvelocity"


def _fetched() -> Path:
    return cache_folder() / f"kafka-{VERSION}"


def _installed(home: Path) -> Path:
    for folder in (home / "libs", home / "lib", home):
        if any(folder.glob("kafka-server-[0-9]*.jar")) or any(folder.glob("kafka_2.*.jar")):
            return folder
    raise missing(f"{HOME} is {home}, and there are no jars of a Kafka server in it.", "Set it to an unpacked Kafka.")


def _fetch(folder: Path, tell: Tell) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be fetching them
        if (folder / "whole").exists():
            return
        tell(f"Fetching Kafka {VERSION} by Maven, once: 55 MB into {folder}.")
        shutil.rmtree(folder / "lib", ignore_errors=True)
        (folder / "pom.xml").write_text(POM)
        words = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"]
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = next((line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line), "it did not say why")
            raise BusError(
                f"Maven could not fetch Kafka: {said[:300]}",
                safe="Nothing was started.",
                remedy=f"Check the network, and Maven's settings.xml where a mirror is needed. {OTHER}",
                code="ServerFailed",
            )
        (folder / "whole").touch()
