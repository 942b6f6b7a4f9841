"""A gold table on disk: Delta, small ones written whole, large ones as a log over a base."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bitvelocity.changes import Passing, pass_by
from bitvelocity.files import sync_path
from bitvelocity.lakehouse.delta import LocalTable, has_log
from bitvelocity.lakehouse.deltalog import TableState, lake_schema
from bitvelocity.lakehouse.layers import Layers, above
from bitvelocity.lakehouse.table import Staged
from bitvelocity.lakehouse.upkeep import CARE, Care

from .binding import CHANGES
from .diff import Difference
from .model import Model
from .rows import Rows
from .small import SmallRows

WHOLE_ROWS = 4_000
"""Tables up to this size are written whole at each change: one file, plain to every reader."""
APP = "bitvelocity"
_MODEL = "_model.json"
_LOG_FIELDS = [("_op", pa.string()), ("_lsn", pa.int64()), ("_ordinal", pa.int32())]


@dataclass(frozen=True, slots=True)
class Pending:
    """Rows to write: all of a table (`whole`), or what a log adds."""

    pieces: tuple[pa.Table, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Staging:
    """Files that are written but not visible."""

    files: tuple[Staged, ...]
    position: int
    whole: bool


class GoldTable:
    """The stored rows of one model: a base with the model's columns, and above it a log of `u` and `d`.

    Every commit carries the position up to which its inputs are in. A base written whole makes the log below
    it void, so one commit is always enough. Rows whose key is NULL are only ever written whole: a log could
    not name them.
    """

    def __init__(
        self, root: Path, model: Model, *, scratch: Path, sync: bool = True, at: Passing = pass_by
    ) -> None:
        self.model = model
        self._sync = sync
        self._folder = root / "gold" / model.name
        log = root / "gold" / f"{model.name}{CHANGES}"
        if not _fits(self._folder, model.schema):
            shutil.rmtree(self._folder)
            shutil.rmtree(log, ignore_errors=True)
        log_schema = pa.schema([*_LOG_FIELDS, *model.schema])
        self._layers = Layers(
            LocalTable.open(self._folder, model.schema, statistics=(), sync=sync, at=at),
            LocalTable.open(log, log_schema, sync=sync, at=at),
            key=model.key,
            scratch=scratch,
            at=at,
        )
        self._pruned = -1

    def position(self) -> int:
        """The position of the newest commit; -1 when there is none, or another form of the model wrote it."""
        return self._last() if self._written_by() == self.model.fingerprint else -1

    def is_new(self) -> bool:
        """Whether nothing was ever written."""
        return self._last() < 0

    def stored_sql(self) -> str:
        """A SELECT of the stored rows."""
        return self._layers.latest_sql(self.model.column_names)

    def versions(self) -> dict[str, int]:
        """Table -> version, as a watermark names them."""
        tables = (self._layers.base, self._layers.log)
        return {f"gold/{table.path.name}": table.version() for table in tables}

    def prepare(self, difference: Difference, rows: Rows | SmallRows) -> Pending:
        """What must be written to bring the stored rows to `rows`, of which `difference` is new."""
        if (
            rows.count <= WHOLE_ROWS
            or len(difference) > rows.count // 2
            or difference.has_null(self.model.key)
        ):
            return self.prepare_all(rows)
        return Pending((_as_log(difference, self.model),), whole=False)

    def prepare_all(self, rows: Rows | SmallRows) -> Pending:
        """As `prepare`, to write the stored rows anew."""
        return Pending(tuple(rows.pieces()), whole=True)

    def stage(self, pending: Pending, position: int) -> Staging:
        """Write it to synced files that nobody sees yet. Any thread may do this, one for each table."""
        position = max(position, self._last() + 1)
        table = self._layers.base if pending.whole else self._layers.log
        pieces = (piece if pending.whole else _at(piece, position) for piece in pending.pieces)
        return Staging(tuple(table.stage(piece) for piece in pieces), position, whole=pending.whole)

    def commit(self, staging: Staging) -> None:
        """Make it visible, by one log entry. Any thread may do this, one for each table."""
        table = self._layers.base if staging.whole else self._layers.log
        table.commit(staging.files, staging.position, replace=staging.whole)

    def write(self, pending: Pending, position: int) -> None:
        """Stage and commit."""
        self.commit(self.stage(pending, position))

    def claim(self) -> None:
        """Note that the stored rows are this form of the model's. Call it after they are written."""
        path = self._folder / _MODEL
        if self._written_by() != self.model.fingerprint:
            path.write_text(json.dumps({"model": self.model.name, "fingerprint": self.model.fingerprint}))
            if self._sync:
                sync_path(path)
                sync_path(self._folder)

    def maintain(self, background: Executor | None = None, care: Care = CARE) -> None:
        """Fold, roll up, checkpoint and clean what is due; void files leave the log."""
        self._layers.maintain(background, care)
        folded = self._layers.base.position()
        if folded > self._pruned:
            files = self._layers.log.files()
            alive = {file.path for file in above(files, folded)}
            void = [file for file in files if file.path not in alive]
            if void:
                self._layers.log.swap(void, ())
            self._pruned = folded

    def settle(self) -> None:
        """Wait for what `background` still does."""
        self._layers.settle()

    def _last(self) -> int:
        return max(self._layers.base.position(), self._layers.log.position())

    def _written_by(self) -> str | None:
        try:
            fingerprint: str = json.loads((self._folder / _MODEL).read_text())["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return fingerprint


def _as_log(difference: Difference, model: Model) -> pa.Table:
    """Changed rows as `u`, and keys that are gone as `d`."""
    now, gone = difference.now, difference.gone.select(model.key)
    rows = pa.concat_tables([now, gone], promote_options="default") if gone.num_rows else now
    operations = pa.array(["u"] * now.num_rows + ["d"] * gone.num_rows, pa.string())
    return rows.append_column("_op", operations).append_column(
        "_ordinal", pa.array(range(len(rows)), pa.int32())
    )


def _at(rows: pa.Table, position: int) -> pa.Table:
    return rows.append_column("_lsn", pa.repeat(pa.scalar(position, pa.int64()), len(rows)))


def _fits(folder: Path, schema: pa.Schema) -> bool:
    """Whether what is stored has the model's columns and types: gold is computed anew rather than cast."""
    if not has_log(folder):
        return True
    stored = TableState.load(folder, APP).schema
    return {field.name: field.type for field in stored} == {
        field.name: field.type for field in lake_schema(schema)
    }
