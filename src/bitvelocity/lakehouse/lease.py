"""One writer per lake: a lock on the root that ends with the process."""

from __future__ import annotations

import os
from pathlib import Path

from bitvelocity.errors import LakeError
from bitvelocity.processes import locked

NAME = ".lease"


class Lease:
    """Held from `take` to `release`; the kernel gives it back when the process dies, however it dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, root: Path) -> Lease:
        """The lease on `root`, which is made if need be. `LakeError` names the process that has it."""
        try:
            root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(root / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LakeError(
                f"the lake at {root} cannot be written: {error.strerror}",
                remedy="set [lake] path to a folder that this user can write, or mend its permissions",
            ) from error
        if not locked(descriptor):
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise LakeError(
                f"the lake at {root} has a writer already (process {holder})",
                safe="nothing was written by this process",
                remedy=f"stop process {holder} first, or give this one a lake of its own",
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Give it back. Twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
