"""The audit trail kept by change capture: a sink whose rows and position are one transaction of the source database.

Values are never taken apart here. The printed columns go by COPY into a temporary table with the entity's own types,
and PostgreSQL makes the JSON of all rows in one statement, exactly as it does for a trail that a trigger keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import errors
from pyarrow import csv

from ..changes import AFTER, BEFORE, Batch, Mark, Receipt
from ..contracts.spec import EntitySpec
from ..contracts.trail import recorded, trail_of
from ..errors import BitVelocityError, ConnectionLostError
from .connect import connect
from .ddl import literal, qualified
from .failures import explained
from .trail_progress import TrailPositions
from .trail_sql import FAITHFUL, Image, key_json, keys, moved, target_sql, unchanged

HEAD = ("_lsn", "_ordinal", "_op", "_committed_at", "_operation_user", "_correlation_id", "_source", "_absent")
HEAD_SQL = "lsn bigint, ordinal int, op text, at timestamptz, who text, correlation text, origin text, absent jsonb"
TOLD = ("c", "u", "d", "t")
"""Operations that are somebody's doing; a row of a snapshot is nobody's."""
CSV = csv.WriteOptions(include_header=False, quoting_style="all_valid")


@dataclass(frozen=True, slots=True)
class _Trail:
    """One entity's way: where its rows wait, and the statement that takes them from there."""

    spec: EntitySpec
    stage: str
    project: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, spec: EntitySpec, number: int) -> _Trail:
        stage = f"bv_trail_{number}"
        return cls(spec, stage, _project(spec, stage), recorded(spec))

    def create(self, types: Mapping[str, str]) -> str:
        """The temporary table; `types` are those of the entity's columns as PostgreSQL prints them."""
        images = [
            f"{side}{n} {types.get(name, 'text')}" for side in "ab" for n, name in enumerate(self.columns, 1)
        ]
        return f"create temporary table {self.stage} ({', '.join([HEAD_SQL, *images])}) on commit delete rows"

    def rows(self, batch: Batch, position: int, until: int) -> pa.Table:
        """What of a batch belongs into the trail, in the columns of the stage: above `position`, up to `until`."""
        data, have = batch.data, set(batch.data.column_names)
        none: pa.Array[Any] = pa.nulls(data.num_rows, pa.string())
        names = [*HEAD, *(side + name for side in (AFTER, BEFORE) for name in self.columns)]
        columns = [_plain(data[name]) if name in have else none for name in names]
        rows = pa.table(columns, names=[str(n) for n in range(len(names))])
        placed = pc.and_(pc.greater(rows["0"], pa.scalar(position)), pc.less_equal(rows["0"], pa.scalar(until)))
        return rows.filter(pc.and_(pc.is_in(rows["2"], pa.array(TOLD)), placed))


class TrailSink:
    """Fills `<table>_audit` of all entities with `audit_trail="cdc"`, each change exactly once.

    A position is kept for each table, and moves in the transaction that writes the rows. The transaction sees that
    nobody else has moved it, so that two of us, or a predecessor whose last words are still on their way, cannot write
    a change twice. Where a trigger took a trail over, this one brings in what was committed before that (`until`), and no
    more; when the trail is given back, it goes on from there.
    """

    name = "audit trail"
    waits = False

    def __init__(self, specs: Sequence[EntitySpec]) -> None:
        self._declared = {spec.qualified: spec for spec in specs if spec.audit_trail is not None}
        self._trails = {name: _Trail.of(spec, n) for n, (name, spec) in enumerate(self._declared.items())}
        self._positions = TrailPositions(self._declared)
        self._connection: psycopg.Connection[Any] | None = None
        self._staged: dict[str, int] = {}
        self._passed: set[str] = set()
        """Tables with changes that are not ours to write, as far as we know."""
        self._made: set[str] = set()
        self._months: set[tuple[str, str]] = set()
        self._plain: set[str] = set()

    @property
    def specs(self) -> tuple[EntitySpec, ...]:
        """Whose trails it keeps, and whose it has not been seen to be done with."""
        return tuple(self._declared[name] for name in self._positions.kept)

    def connect(self, dsn: str) -> None:
        """Write to this database from now on; what was staged is forgotten."""
        self.close()
        self._connection = connect(dsn, application_name="bitvelocity audit trail")
        try:
            self._guarded(self._open)
        except BitVelocityError:
            self.close()
            raise

    def position(self) -> int:
        """Commit LSN up to which every trail is complete; -1 when one has nothing yet."""
        return self._positions.lowest()

    def stage(self, batch: Batch) -> None:
        """COPY what the trail lacks into its stage: memory does not grow with the transaction."""
        if batch.relation not in self._positions.kept:
            self._passed.add(batch.relation)
            return
        trail = self._trails[batch.relation]
        rows = trail.rows(batch, *self._positions.span(batch.relation))
        if rows.num_rows:
            self._guarded(lambda: self._copy(trail, rows), trail)
            self._staged[batch.relation] = self._staged.get(batch.relation, 0) + rows.num_rows

    def commit(self, mark: Mark) -> Receipt:
        """Rows, position, one transaction; nothing at all when no trail is concerned, or done with what was left to it.

        1. lock the positions and see that they are what we know;
        2. make the partitions that the rows need;
        3. write the rows of each trail, in the order of the changes;
        4. move the positions;
        5. commit.
        """
        began = time.perf_counter()
        if passed := self._passed & self._declared.keys():
            self._guarded(lambda: self._see_none_returned(passed))
        if self._staged:
            self._guarded(lambda: self._write(mark))
        elif self._positions.end_by(mark.lsn):
            self._guarded(lambda: self._positions.move(self._open_connection, mark.lsn))
        taken, self._staged = {self._declared[name].name: n for name, n in self._staged.items()}, {}
        return Receipt(sink=self.name, lsn=mark.lsn, rows_in=taken, seconds={"commit": time.perf_counter() - began})

    def answers(self) -> bool:
        """Its target is the source: whether that answers is the supervisor's business."""
        return False

    def level(self, lsn: int) -> None:
        """There is nothing below `lsn` that the trails lack: say so in the database."""
        if self._positions.kept and self.position() < lsn:
            self._guarded(lambda: self._positions.move(self._open_connection, lsn))

    def rollback(self) -> None:
        """Forget what is staged, and read again how far the trails are."""
        self._staged, self._made, self._passed = {}, set(), set()
        self._guarded(lambda: self._positions.read(self._open_connection))

    def close(self) -> None:
        self._staged, self._made, self._months, self._passed = {}, set(), set(), set()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _open_connection(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            raise ConnectionLostError("The audit trail is not connected.")
        return self._connection

    def _guarded(self, work: Callable[[], None], trail: _Trail | None = None) -> None:
        """Run it; what PostgreSQL refuses is an error of ours, and nothing is left half done."""
        connection = self._open_connection
        try:
            work()
        except BitVelocityError:
            connection.rollback()
            raise
        except psycopg.Error as error:
            if connection.broken or connection.closed or isinstance(error, psycopg.OperationalError):
                raise ConnectionLostError(safe="The audit trail goes on from the lake.") from error
            connection.rollback()
            if trail is not None and isinstance(error, errors.DataError):
                self._plain.add(trail.spec.qualified)  # an old value that its type no longer takes: as text next time
            self._made.clear()
            raise explained(
                error, doing="Writing the audit trail", entity=trail.spec.name if trail else None,
                safe="The lake has every change; the trail goes on from there.",
            ) from error  # fmt: skip

    def _open(self) -> None:
        run = self._open_connection.execute
        for name, value in FAITHFUL.items():
            run(f"set {name} = '{value}'")  # type: ignore[call-overload,unused-ignore]
        self._open_connection.commit()
        self._positions.read(self._open_connection)
        self._positions.see_no_copy(self._open_connection)

    def _see_none_returned(self, passed: set[str]) -> None:
        self._positions.see_none_returned(self._open_connection, passed)
        if not self._staged:
            self._open_connection.rollback()
        self._passed.clear()

    def _copy(self, trail: _Trail, rows: pa.Table) -> None:
        cursor = self._open_connection.cursor()
        if trail.stage not in self._made:
            cursor.execute(f"drop table if exists pg_temp.{trail.stage}")  # type: ignore[call-overload,unused-ignore]
            cursor.execute(trail.create(self._types(trail)))  # type: ignore[call-overload,unused-ignore]
            self._made.add(trail.stage)
        sink = pa.BufferOutputStream()
        csv.write_csv(rows, sink, CSV)
        with cursor.copy(f"copy pg_temp.{trail.stage} from stdin (format csv)") as copy:  # type: ignore[call-overload,unused-ignore]
            copy.write(sink.getvalue().to_pybytes())

    def _types(self, trail: _Trail) -> dict[str, str]:
        if trail.spec.qualified in self._plain:
            return {}
        query = (
            "select attname::text, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = %s::regclass and attnum > 0 and not attisdropped"
        )
        return dict(self._open_connection.execute(query, [_table(trail.spec)]).fetchall())

    def _write(self, mark: Mark) -> None:
        connection = self._open_connection
        self._positions.read(connection, lock=True)
        for name in self._staged:
            trail = self._trails[name]
            self._ensure_months(trail)
            connection.execute(trail.project)  # type: ignore[call-overload,unused-ignore]
        self._positions.move(connection, mark.lsn)
        if self._plain & self._staged.keys():
            self._plain -= self._staged.keys()
            self._made.clear()

    def _ensure_months(self, trail: _Trail) -> None:
        """Old changes (a trail that is new) fall into months that nobody has made partitions for."""
        query = f"select distinct date_trunc('month', at)::text from pg_temp.{trail.stage}"
        run = self._open_connection.execute
        for (month,) in run(query).fetchall():  # type: ignore[call-overload,unused-ignore]
            if (trail.stage, month) not in self._months:
                run("select bv.ensure_partitions(%s::regclass, 'month', %s, %s)", [_table(trail_of(trail.spec)), month, month])
                self._months.add((trail.stage, month))


def _plain(values: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Text out of the WAL's own bytes: few functions of Arrow take views, and nothing may keep the piece alive."""
    return values.cast(pa.string()) if pa.types.is_string_view(values.type) else values


def _table(spec: EntitySpec) -> str:
    return qualified(spec.schema, spec.table)


def _project(spec: EntitySpec, stage: str) -> str:
    numbers = {name: n for n, name in enumerate(recorded(spec), 1)}
    old, new = Image("s.b", "old_row", numbers), Image("s.a", "new_row", numbers)
    key = (f"case part.op when 'DELETE' then {o} else {n} end" for o, n in zip(keys(spec, old), keys(spec, new), strict=True))
    whole, less = _whole(spec, old), ""
    if spec.audit_changed_only:
        less = f" - case when part.op = 'UPDATE' and {whole} then {unchanged(spec, old, new)} else '{{}}' end"
    absent = "case when s.absent is null then '{}' else array(select jsonb_array_elements_text(s.absent)) end"
    return f"""{target_sql(spec)}
    select {", ".join(key)}, part.op, coalesce(s.at, now()), s.who,
           case when part.op in ('UPDATE', 'DELETE') and {whole} then to_jsonb(old_row){less}
                when part.op = 'DELETE' then {key_json(spec, old)} end,
           case when part.op in ('INSERT', 'UPDATE') then to_jsonb(new_row) - {absent}{less} end,
           s.correlation, s.origin
      from pg_temp.{stage} as s
      cross join lateral unnest(
        case s.op when 'c' then array['INSERT'] when 'd' then array['DELETE'] when 't' then array['TRUNCATE'] else
          case when {keys_known(spec, old)} and {moved(spec, old, new)} then array['DELETE', 'INSERT'] else array['UPDATE'] end
        end) with ordinality as part (op, place)
      {old.row(recorded(spec))}
      {new.row(recorded(spec))}
     order by s.lsn, s.ordinal, part.place"""


def keys_known(spec: EntitySpec, image: Image) -> str:
    """The source sent the old key."""
    return " and ".join(f"{name} is not null" for name in keys(spec, image))


def _whole(spec: EntitySpec, old: Image) -> str:
    """The source sent the whole old row: seen at a column that is never NULL, else the declaration's word for it."""
    sure = (column.name for column in spec.columns if not column.nullable and column.name not in spec.key)
    witness = next((name for name in sure if name in recorded(spec)), None)
    if witness is not None:
        return f"{old.of(witness)} is not null"
    return f"({literal(spec.replica_identity)} = 'full' and {keys_known(spec, old)})"


__all__ = ["TrailSink"]
