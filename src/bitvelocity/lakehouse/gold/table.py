"""A gold table on disk: Delta, small ones written whole, large ones as a log over a base."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pyarrow as pa

from bitvelocity.lakehouse.delta import LocalTable, Step, has_log, pass_by
from bitvelocity.lakehouse.deltalog import TableState, lake_schema
from bitvelocity.lakehouse.layers import Layers
from bitvelocity.lakehouse.parquet import sync_path

from .binding import CHANGES
from .diff import Difference
from .model import Model
from .rows import Rows

WHOLE_ROWS = 4_000
"""Tables up to this size are written whole at each change: one file, nothing to fold, plain to every reader."""
APP = "bitvelocity"
_MODEL = "_model.json"
_LOG_FIELDS = [("_op", pa.string()), ("_lsn", pa.int64()), ("_ordinal", pa.int32())]


class GoldTable:
    """The stored rows of one model: a base with the model's columns, and above it a log of `u` and `d`.

    Every commit carries the position up to which its inputs are in. A base written whole makes the log below it void,
    so one commit is always enough. Rows whose key is NULL are only ever written whole: a log could not name them.
    """

    def __init__(self, root: Path, model: Model, *, scratch: Path, sync: bool = True, at: Step = pass_by) -> None:
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
        )

    def position(self) -> int:
        """The position of the newest commit; -1 when there is none, or when another form of the model wrote it."""
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

    def write(self, difference: Difference, rows: Rows, position: int) -> None:
        """Bring the stored rows to `rows`, of which `difference` is new. One commit."""
        position = max(position, self._last() + 1)
        if rows.count <= WHOLE_ROWS or len(difference) > rows.count // 2 or difference.has_null(self.model.key):
            self.write_all(rows, position)
        else:
            log = self._layers.log
            log.commit((log.stage(_as_log(difference, self.model, position)),), position)

    def write_all(self, rows: Rows, position: int) -> None:
        """Write the stored rows anew."""
        base = self._layers.base
        staged = [base.stage(piece) for piece in rows.pieces()]
        base.commit(staged, max(position, self._last() + 1), replace=True)

    def claim(self) -> None:
        """Note that the stored rows are this model's, as it is written now. After the rows: a crash recomputes."""
        path = self._folder / _MODEL
        if self._written_by() != self.model.fingerprint:
            path.write_text(json.dumps({"model": self.model.name, "fingerprint": self.model.fingerprint}))
            if self._sync:
                sync_path(path)
                sync_path(self._folder)

    def maintain(self, background: Executor | None = None) -> None:
        """Fold, roll up, checkpoint and clean what is due; an empty log stays empty."""
        self._layers.maintain(background)
        log, base = self._layers.log, self._layers.base
        if log.files() and base.position() > log.position():
            log.commit((), log.position(), replace=True, info={"reason": "the base has all of it"})

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


def _as_log(difference: Difference, model: Model, position: int) -> pa.Table:
    now, gone = difference.now, difference.keys_gone(model.key)
    rows = pa.concat_tables([now, gone], promote_options="default")
    count = rows.num_rows
    system: list[pa.Array[Any]] = [
        pa.array(["u"] * now.num_rows + ["d"] * gone.num_rows, pa.string()),
        pa.repeat(pa.scalar(position, pa.int64()), count),
        pa.array(range(count), pa.int32()),
    ]
    return pa.Table.from_arrays([*system, *rows.columns], names=[*(name for name, _ in _LOG_FIELDS), *rows.column_names])


def _fits(folder: Path, schema: pa.Schema) -> bool:
    """Whether what is stored has the model's columns, in their types: gold is computed anew rather than cast."""
    if not has_log(folder):
        return True
    stored = TableState.load(folder, APP).schema
    return {field.name: field.type for field in stored} == {field.name: field.type for field in lake_schema(schema)}


