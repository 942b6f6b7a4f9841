"""A Delta table on a local disk: parquet by pyarrow, the log entry our own, put if absent and synced.

delta-rs takes 14-50 ms for a small commit and syncs nothing; this takes about one millisecond and survives a power
cut. Everything rare (the first look at a table, checkpoints) stays with delta-rs.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from bitvelocity.changes import Passing, pass_by
from bitvelocity.errors import LakeError
from bitvelocity.files import sync_path

from . import deltalog as log
from .deltalog import Action, TableState
from .parquet import Shape, conform, write
from .table import DataFile, Staged
from .upkeep import Care, Upkeep

KEEP_IN_MEMORY = 256 << 10
"""Bytes of buffers up to which staged rows are kept for a roll-up; a view into a large piece of WAL pins all of it."""

CONFIGURATION = {
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    "delta.enableExpiredLogCleanup": "false",
    "delta.checkpointInterval": "1000000",
}
"""We checkpoint and clean up ourselves; the short retention keeps dead files out of our checkpoints."""

NO_INFO: Mapping[str, str] = MappingProxyType({})


class LocalTable:
    """A table of one writer. A commit is one log entry: remark, position, files in, files out."""

    def __init__(self, state: TableState, shape: Shape, *, app: str, sync: bool, at: Passing = pass_by) -> None:
        self._state = state
        self._shape = shape
        self._app = app
        self._sync = sync
        self._at = at
        self.upkeep = Upkeep(self, at)

    @classmethod
    def open(
        cls,
        path: Path,
        schema: pa.Schema,
        *,
        app: str = log.APP,
        dictionary: Sequence[str] = (),
        statistics: Sequence[str] = ("_lsn",),
        properties: Mapping[str, str] = NO_INFO,
        sync: bool = True,
        at: Passing = pass_by,
    ) -> LocalTable:
        """The table at `path`, made when there is none, widened when `schema` has new columns.

        A column whose type differs from what is stored is refused: nothing is ever cast in place. `properties` are
        of a table that is made here.
        """
        path = Path(path).absolute()
        wanted = log.lake_schema(schema)
        exists = has_log(path)
        state = TableState.load(path, app) if exists else TableState(path)
        shape = Shape(state.schema if exists else wanted, tuple(dictionary), tuple(statistics))
        table = cls(state, shape, app=app, sync=sync, at=at)
        if exists:
            table.upkeep.sweep()
            table.widen(wanted)
        else:
            table._create(wanted, properties)
        return table

    @property
    def path(self) -> Path:
        """The table's folder."""
        return self._state.path

    @property
    def schema(self) -> pa.Schema:
        """Columns of the table, in the order in which they came to be."""
        return self._state.schema

    @property
    def shape(self) -> Shape:
        """How files are written from now on."""
        return self._shape

    @property
    def synced(self) -> bool:
        """Whether what is written survives a power cut."""
        return self._sync

    def version(self) -> int:
        """The newest version."""
        return self._state.version

    def position(self) -> int:
        """The position of the last commit, -1 when there is none."""
        return self._state.position(self._app)

    def files(self) -> tuple[DataFile, ...]:
        """The live files."""
        return tuple(self._state.files.values())

    def widen(self, schema: pa.Schema, *, dictionary: Iterable[str] = ()) -> None:
        """Add the columns of `schema` that the table lacks, and write `dictionary` columns as such from now on."""
        wanted = log.lake_schema(schema)
        old = self._state.schema
        for column in wanted:
            if column.name in old.names and old.field(column.name).type != column.type:
                raise LakeError(
                    f"column {column.name} of {self.path} is {old.field(column.name).type}, not {column.type}",
                    safe="the table is as it was",
                    remedy="bitvelocity rebuild makes a silver table anew from bronze",
                )
        new = [column for column in wanted if column.name not in old.names]
        if new:
            self._refuse_twins(column.name for column in new)
            grown = pa.schema([*old, *new])
            self._put(lambda: [log.remark("ADD COLUMNS", NO_INFO), self._state.metadata_with(grown)])
        encoded = dict.fromkeys((*self._shape.dictionary, *dictionary))
        self._shape = Shape(self._state.schema, tuple(encoded), self._shape.statistics)

    def _refuse_twins(self, names: Iterable[str]) -> None:
        """Readers of Delta tables do not tell columns apart by the case of their letters."""
        there = {name.lower(): name for name in self._state.schema.names}
        for name in names:
            if (twin := there.get(name.lower(), name)) != name:
                raise LakeError(
                    f"column {name} of {self.path} differs from {twin} by the case of its letters only",
                    safe="the table is as it was",
                    remedy="rename the column in the source so that more than case differs, and the entity's with it",
                )

    def stage(self, rows: pa.Table, more: Iterable[pa.Table] = ()) -> Staged:
        """Write rows, and more of them behind, to a synced file that no log entry names yet."""
        rows = conform(rows, self._shape.schema)
        rest = (conform(piece, self._shape.schema) for piece in more)
        with self._disk_errors("stage rows"):
            file = write(self.path, self._shape, chain((rows,), rest), sync=self._sync)
        self._at("staged")
        small = file.rows == rows.num_rows and rows.get_total_buffer_size() <= KEEP_IN_MEMORY
        return Staged(file, rows if small else None)

    def commit(
        self,
        staged: Sequence[Staged],
        position: int,
        *,
        replace: bool | Sequence[DataFile] = False,
        info: Mapping[str, str] = NO_INFO,
    ) -> int:
        """Make the staged rows visible, with the position, in one step. Gives the new version.

        With `replace` in place of all files that are there, or of some: then also at the position that it stands at.

        1. the names of the data files are made durable, 2. the entry is written aside and synced, 3. it is linked to
        the name of the next version, which only one can do, 4. the link is made durable.
        """
        self._check(position, replace=replace is not False)
        adds = [log.add(piece.file) for piece in staged]
        txn = {"txn": {"appId": self._app, "version": position, "lastUpdated": log.now()}}
        remark = log.remark("WRITE", info, mode="Append" if replace is False else "Overwrite")

        def entry() -> list[Action]:
            replaced = self._state.files.values() if replace is True else replace or ()
            removes = [log.remove(file) for file in replaced]
            return [remark, txn, *removes, *adds]

        self._put(entry, data=bool(staged))
        self.upkeep.remember(staged)
        return self.version()

    def swap(self, old: Sequence[DataFile], new: Sequence[Staged]) -> bool:
        """Put files in the place of others that hold the same rows. False when one of the old is gone already."""
        adds = [log.add(piece.file, data_change=False) for piece in new]
        removes = [log.remove(file, data_change=False) for file in old]

        def entry() -> list[Action]:
            live = all(file.path in self._state.files for file in old)
            return [log.remark("OPTIMIZE", NO_INFO), *removes, *adds] if live else []

        if self._put(entry, data=True):
            return True
        self.discard(new)
        return False

    def become(self, other: LocalTable, position: int, schema: pa.Schema, properties: Mapping[str, str]) -> None:
        """Take the files of another table on this disk in the place of all of ours, with their schema, in one step."""
        wanted = log.lake_schema(schema)
        with self._disk_errors("take the rows of another table"):
            for file in other.files():
                os.link(other.path / file.path, self.path / file.path)
        configuration = {**self._state.about["configuration"], **properties}
        about = log.metadata(wanted, self._state.about["id"], configuration)
        reached = max(position, self.position())
        txn = {"txn": {"appId": self._app, "version": reached, "lastUpdated": log.now()}}
        remark = log.remark("WRITE", {"reason": "rebuild"}, mode="Overwrite")

        def entry() -> list[Action]:
            removes = [log.remove(file) for file in self._state.files.values()]
            adds = [log.add(file) for file in other.files()]
            return [remark, about, *([txn] if reached >= 0 else []), *removes, *adds]

        self._put(entry, data=True)
        self._shape = Shape(self._state.schema, self._shape.dictionary, self._shape.statistics)

    def discard(self, staged: Sequence[Staged]) -> None:
        """Delete staged files that will not be committed."""
        for piece in staged:
            (self.path / piece.file.path).unlink(missing_ok=True)

    def maintain(
        self,
        background: Executor | None = None,
        *,
        roll_up: int = 40,
        checkpoint_every: int = 300,
        keep: float = 600.0,
    ) -> None:
        """Land what `background` has finished and give it what is due: roll-ups, checkpoints, removal of dead files.

        Call it after commits. Without `background` the work is done here. `keep`: seconds for which replaced files
        and old log entries live on, so that readers of older versions never miss one.
        """
        self.upkeep.run(background, Care(roll_up=roll_up, checkpoint_every=checkpoint_every, keep=keep))

    def _check(self, position: int, *, replace: bool) -> None:
        last = self.position()
        emptied = replace and position == -1
        if not emptied and (position < last or (position == last and not replace)):
            raise LakeError(
                f"{self.path.name} is at position {last}; a commit at {position} would repeat rows",
                position=str(position),
                safe="nothing was written",
                remedy="drop rows at or below the table's position before staging",
            )

    def _create(self, schema: pa.Schema, properties: Mapping[str, str]) -> None:
        with self._disk_errors("create the table"):
            (self.path / log.LOG).mkdir(parents=True, exist_ok=True)
            if self._sync:
                sync_path(self.path)
                sync_path(self.path.parent)
        protocol: Action = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}
        about = log.metadata(schema, str(uuid.uuid4()), {**CONFIGURATION, **properties})
        self._put(lambda: [log.remark("CREATE TABLE", NO_INFO), protocol, about], data=True)

    def _put(self, entry: Callable[[], list[Action]], *, data: bool = False) -> bool:
        """Make `entry()` the next version; it is asked anew when a foreign rewrite took the number."""
        if data and self._sync:
            with self._disk_errors("commit"):
                sync_path(self.path)
        while actions := entry():
            version = self.version() + 1
            if self._link(version, actions):
                self._state.apply(version, actions)
                self.upkeep.bury(actions)
                self._at("committed")
                return True
            self._accept_foreign(version)
        return False

    def _link(self, version: int, actions: Sequence[Action]) -> bool:
        folder = self.path / log.LOG
        aside = folder / f".{uuid.uuid4()}.tmp"
        with self._disk_errors("commit"):
            with aside.open("w") as file:
                file.write("".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions))
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            self._at("written")
            try:
                os.link(aside, log.entry_path(self.path, version))
            except FileExistsError:
                return False
            finally:
                aside.unlink()
            self._at("linked")
            if self._sync:
                sync_path(folder)
        return True

    def _accept_foreign(self, version: int) -> None:
        actions = log.read_entry(self.path, version) or []
        if log.changes_data(actions):
            raise LakeError(
                f"another writer committed version {version} of {self.path}",
                safe="that version is whole; nothing of this commit is visible",
                remedy="let one process only write this lake, then start it again: it goes on from its position",
            )
        self._state.apply(version, actions)
        self.upkeep.bury(actions)

    @contextmanager
    def _disk_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LakeError(
                f"cannot {doing} in {self.path}: {error.strerror or error}",
                safe="everything committed before is untouched",
                remedy="see that the disk has room and the folder is writable, then start again",
            ) from error


def has_log(path: Path) -> bool:
    """Whether a table was ever committed at `path`."""
    folder = path / log.LOG
    return folder.is_dir() and any(name.suffix == ".json" for name in folder.iterdir())
