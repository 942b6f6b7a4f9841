"""The user that PostgreSQL runs as. It refuses root, so root lends it to an account that has no power."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DatabaseError

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server. `switch` is true when we are root and must become somebody else."""

    name: str
    uid: int
    gid: int
    switch: bool

    @property
    def popen(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen` that run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def own(self, path: Path) -> None:
        """Give the account a file or folder that we have just made."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def can_enter(self, folder: Path) -> bool:
        """It can change into the folder: every parent lets it through. Asked of the kernel, so ACLs count too."""
        return self._succeeds("/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder))

    def can_run(self, program: Path) -> bool:
        """It can start the program, with the libraries that go with it."""
        return self._succeeds(str(program), "--version")

    def _succeeds(self, *command: str) -> bool:
        try:
            done = subprocess.run(command, capture_output=True, cwd="/", check=False, **self.popen)
        except OSError:
            return False
        return done.returncode == 0


def server_account(candidates: Sequence[str] = CANDIDATES) -> Account:
    """Ourselves; for root the first of `candidates` that exists. Never makes a user, never opens a folder to others."""
    if os.geteuid() != 0:
        return _ourselves()
    for name in candidates:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid, switch=True)
    raise DatabaseError(
        f"PostgreSQL refuses to run as root, and none of these users exists here: {', '.join(candidates)}.",
        safe="Nothing was changed.",
        remedy="Run as an ordinary user, add a system user named 'postgres', or point [database] dsn at a server.",
    )


def _ourselves() -> Account:
    uid = os.geteuid()
    try:
        return Account(pwd.getpwuid(uid).pw_name, uid, os.getegid(), switch=False)
    except KeyError as error:
        raise DatabaseError(
            f"PostgreSQL needs a named user, and user id {uid} has no entry in /etc/passwd.",
            safe="Nothing was changed.",
            remedy="Run as a user that has an entry (in a container: drop `--user`), or point [database] dsn at a server.",
        ) from error
