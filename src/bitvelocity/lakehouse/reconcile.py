"""Layers proved equal at one position: silver against the source's rows, gold against its recompute.

Nothing here talks to the source: its rows arrive as CSV, as PostgreSQL's COPY writes them, and DuckDB reads
and casts them. That is a way of its own, apart from the casts that filled silver, so an error in those cannot
hide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from bitvelocity.contracts import EntitySpec
from bitvelocity.contracts.arrow import silver_schema
from bitvelocity.errors import ReconcileError

from .gold.binding import cast_select, table_name
from .gold.model import Model
from .gold.verify import SAMPLES, ModelVerdict, RowDifference, compare_rows
from .latest import PLACE
from .names import columns_sql, identifier, literal, sql_type
from .typed import UNFIT
from .views import files_view

BUCKETS = 16
"""Parts by hash of the key, where an entity has no partitions in time."""
LONGEST_LINE = 256 << 20


class Reader(Protocol):
    """What is needed of a lake's reader."""

    @property
    def connection(self) -> duckdb.DuckDBPyConnection: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityVerdict:
    """Whether silver holds the source's rows at `lsn`. Differences are (silver, source).

    `unfit`: rows with a value that silver's type cannot hold. It stands in `_unfit` as it was printed, and is
    compared so; in rows that only name the column (lakes of before November 2026) it is left out.
    """

    entity: str
    lsn: int
    source: int
    silver: int
    parts: int
    """Parts compared by count and hash: months of the partition column, else buckets of the key."""
    parts_differing: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    unfit: int = 0
    samples: tuple[RowDifference, ...] = ()

    @property
    def ok(self) -> bool:
        """No row is missing, extra or different."""
        return self.source == self.silver and not (self.missing or self.extra or self.different)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = {name: getattr(self, name) for name in ("missing", "extra", "different", "unfit")}
        return {
            "entity": self.entity,
            "ok": self.ok,
            "source": self.source,
            "silver": self.silver,
            "parts": self.parts,
            "parts_differing": self.parts_differing,
            **counts,
            "samples": [sample.as_dict() for sample in self.samples],
        }


def compare_gold(reader: Reader, model: Model) -> ModelVerdict:
    """Compute a model from the views of a reader, and compare it with its stored rows in both directions."""
    connection = reader.connection.cursor()
    stored = f"SELECT {columns_sql(model.column_names)} FROM {table_name('gold', model.name)}"
    try:
        connection.execute("SET TimeZone = 'UTC'")
        return compare_rows(connection, model, cast_select(model), stored)
    except duckdb.Error as error:
        raise ReconcileError(
            f"{model.table} cannot be computed again: {str(error).splitlines()[0]}",
            entity=model.table,
            remedy="correct the model; bitvelocity up builds it anew",
        ) from error
    finally:
        connection.close()


def compare_silver(
    reader: Reader, spec: EntitySpec, source: Path | Iterable[Path], at_lsn: int
) -> EntityVerdict:
    """Compare silver, as the transactions below `at_lsn` left it, with the source's rows at the same
    position.

    `source`: CSV without header, the entity's columns in the spec's order, an empty field for NULL. Each part
    (month or bucket) is compared by count and hash; where one differs its rows are compared one by one.
    """
    files = [source] if isinstance(source, Path) else list(source)
    connection = reader.connection.cursor()
    try:
        connection.execute("SET TimeZone = 'UTC'")
        return _Comparison(connection, spec, files, at_lsn).verdict()
    except duckdb.Error as error:
        raise ReconcileError(
            f"silver and source cannot be compared: {str(error).splitlines()[0]}",
            entity=spec.name,
            safe="nothing was changed",
            remedy="does the source have the entity's columns? bitvelocity apply shows what differs",
        ) from error
    finally:
        connection.close()


class _Comparison:
    """One entity, compared once."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, spec: EntitySpec, files: Sequence[Path], at_lsn: int
    ) -> None:
        self._connection = connection
        self._spec = spec
        self._lsn = at_lsn
        self._columns = tuple(spec.lake_names[column.name] for column in spec.columns)
        self._part = _part(spec)
        self._source = _source_sql(spec, files)
        self._silver = _as_of_sql(spec, at_lsn)

    def verdict(self) -> EntityVerdict:
        """Parts first, rows where they differ."""
        self._compare_parts()
        totals = self._one(
            "SELECT coalesce(sum(source), 0), coalesce(sum(silver), 0), count(*), count(*) FILTER (differs) FROM _parts"
        )
        source, silver, parts, differing = (int(number) for number in totals)
        counts = dict.fromkeys(("missing", "extra", "different", "unfit"), 0)
        samples: tuple[RowDifference, ...] = ()
        if differing:
            self._compare_rows()
            counts |= dict(
                self._all("SELECT _kind, count(*) FROM _rows WHERE _kind IS NOT NULL GROUP BY _kind")
            )
            samples = tuple(self._samples())
        return EntityVerdict(
            entity=self._spec.name,
            lsn=self._lsn,
            source=source,
            silver=silver,
            parts=parts,
            parts_differing=differing,
            samples=samples,
            **counts,
        )

    def _compare_parts(self) -> None:
        """A part with a row that does not fit is looked at row by row in any case."""
        fingerprint = f"sum(hash({columns_sql(self._columns)})::HUGEINT)"
        side = f"{self._part} AS part, count(*) AS rows, {fingerprint} AS fingerprint"
        self._run(
            f"CREATE OR REPLACE TEMP TABLE _parts AS "
            f"SELECT part, a.rows AS source, b.rows AS silver, a.rows IS DISTINCT FROM b.rows "
            f"OR a.fingerprint IS DISTINCT FROM b.fingerprint OR b.unfit > 0 AS differs "
            f"FROM (SELECT {side} FROM ({self._source}) GROUP BY ALL) a "
            f"FULL JOIN (SELECT {side}, count({UNFIT}) AS unfit FROM ({self._silver}) GROUP BY ALL) b USING (part)"
        )

    def _compare_rows(self) -> None:
        """Rows of the differing parts by key; a column that is told not to fit is compared as printed.

        A key that stands twice on a side meets the other side by number, so that no double can hide.
        """
        chosen = f"WHERE {self._part} IN (SELECT part FROM _parts WHERE differs)"
        key = columns_sql(self._spec.lake_key)
        there = f"1 AS _there, row_number() OVER (PARTITION BY {key}) AS _number"
        own = [name for name in self._columns if name not in self._spec.lake_key]
        told = f"CASE WHEN b.{UNFIT} LIKE '{{%' THEN map_keys(b._printed) ELSE CAST(coalesce(b.{UNFIT}, '[]') AS VARCHAR[]) END"
        differing = [
            f"CASE WHEN list_contains(_told, {literal(name)}) "
            f"THEN CASE WHEN b._printed[{literal(name)}] <> a.{_raw(name)} OR a.{_raw(name)} IS NULL THEN {literal(name)} END "
            f"WHEN a.{identifier(name)} IS DISTINCT FROM b.{identifier(name)} THEN {literal(name)} END"
            for name in own
        ]
        columns = (
            f"list_filter([{', '.join(differing)}], lambda c: c IS NOT NULL)" if own else "[]::VARCHAR[]"
        )
        pairs = "".join(
            f", a.{identifier(name)} AS {identifier('source ' + name)}, b.{identifier(name)} AS {identifier('silver ' + name)}"
            for name in own
        )
        self._run(
            f"CREATE OR REPLACE TEMP TABLE _rows AS SELECT {key}{pairs}, {told} AS _told, {columns} AS _columns, "
            f"CASE WHEN b._there IS NULL THEN 'missing' WHEN a._there IS NULL THEN 'extra' "
            f"WHEN len(_columns) > 0 THEN 'different' WHEN b.{UNFIT} IS NOT NULL THEN 'unfit' END AS _kind "
            f"FROM (SELECT *, {there} FROM ({self._source}) {chosen}) a "
            f"FULL JOIN (SELECT *, {_PRINTED} AS _printed, {there} FROM ({self._silver}) {chosen}) b USING ({key}, _number)"
        )

    def _samples(self) -> Iterable[RowDifference]:
        """A few of each kind, by key. Values as text: Python has no infinite timestamp."""
        names = [name for name in self._columns if name not in self._spec.lake_key]
        printed = ", ".join(
            f"CAST({identifier(name)} AS VARCHAR) AS {identifier(name)}"
            for name in (
                *self._spec.lake_key,
                *(f"{side} {name}" for side in ("silver", "source") for name in names),
            )
        )
        found = self._connection.sql(
            f"SELECT {printed}, _kind, CASE _kind WHEN 'unfit' THEN _told WHEN 'different' THEN _columns END AS _names "
            f"FROM _rows WHERE _kind IS NOT NULL QUALIFY row_number() OVER "
            f"(PARTITION BY _kind ORDER BY {columns_sql(self._spec.lake_key)}) <= {SAMPLES}"
        ).to_arrow_table()
        for row in found.to_pylist():
            shown = [name for name in row["_names"] or () if name in names]
            columns = {name: (row[f"silver {name}"], row[f"source {name}"]) for name in shown}
            yield RowDifference({name: row[name] for name in self._spec.lake_key}, row["_kind"], columns)

    def _run(self, sql: str) -> None:
        self._connection.execute(sql).fetchall()

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def _one(self, sql: str) -> tuple[Any, ...]:
        return self._all(sql)[0]


_PRINTED = (
    f"CASE WHEN {UNFIT} LIKE '{{%' THEN CAST(CAST({UNFIT} AS JSON) AS MAP(VARCHAR, VARCHAR)) ELSE MAP {{}} END"
)


def _raw(name: str) -> str:
    """The column of a source row that has the value as it was printed."""
    return identifier(f"printed {name}")


def _part(spec: EntitySpec) -> str:
    if spec.partition is not None and spec.partition.by == "time":
        return f"coalesce(CAST(date_trunc('month', {identifier(spec.lake_names[spec.partition.column])}) AS VARCHAR), '')"
    return f"hash({columns_sql(spec.lake_key)}) % {BUCKETS}"


def _source_sql(spec: EntitySpec, files: Sequence[Path]) -> str:
    """The source's rows with silver's names and types. A value that does not fit is NULL, as in silver."""
    read = ", ".join(f"{literal(f'c{number}')}: 'VARCHAR'" for number in range(len(spec.columns)))
    paths = ", ".join(literal(str(path)) for path in files)
    schema = silver_schema(spec)
    terms = ", ".join(
        f"{_parsed(f'c{number}', field.type)} AS {identifier(field.name)}, c{number} AS {_raw(field.name)}"
        for number, field in enumerate(schema)
    )
    return (
        f"SELECT {terms} FROM read_csv([{paths}], columns = {{{read}}}, header = false, auto_detect = false, "
        f"delim = ',', quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false, "
        f"new_line = '\\n', max_line_size = {LONGEST_LINE}, parallel = false)"
    )


def _parsed(column: str, kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return column
    if pa.types.is_binary(kind):
        return f"unhex(substr({column}, 3))"
    if isinstance(kind, pa.ListType):
        tokens = f"regexp_extract_all(substr({column}, 2, length({column}) - 2), {literal(_ELEMENT)})"
        parsed = _parsed(f"CASE WHEN x <> 'NULL' THEN {_unquoted('x')} END", kind.value_type)
        return f"CASE WHEN {column} LIKE '{{%' AND {column} NOT LIKE '{{{{%' THEN list_transform({tokens}, lambda x: {parsed}) END"
    # substr keeps DuckDB (2.0.1) from moving the cast into its reader of CSV, which does not try, but fails.
    return f"TRY_CAST(substr({column}, 1) AS {sql_type(kind)})"


_ELEMENT = r'"(?:[^"\\]|\\[\s\S])*"|[^,]+'
_ESCAPED, _ITSELF = r"\\([\s\S])", r"\1"


def _unquoted(token: str) -> str:
    """An element without its quotes and backslashes."""
    inner = f"substr({token}, 2, length({token}) - 2)"
    plain = f"regexp_replace({inner}, {literal(_ESCAPED)}, {literal(_ITSELF)}, 'g')"
    return f"CASE WHEN {token} LIKE {literal(chr(34) + '%')} THEN {plain} ELSE {token} END"


def _as_of_sql(spec: EntitySpec, lsn: int) -> str:
    """Silver's rows as the transactions below `lsn` left them.

    The log has the whole story while it is whole; below its oldest row the base speaks. A row of the base
    that is newer than `lsn` is left out: the log has the one before it, for a base is only ever folded from
    the log.
    """
    key = columns_sql(spec.lake_key)
    names = columns_sql([*(spec.lake_names[column.name] for column in spec.columns), UNFIT])
    base, log = files_view(f"silver/{spec.name}"), files_view(f"silver/{spec.name}_changes")
    below = f"_lsn < {lsn:d}"
    cut = f"coalesce((SELECT max({PLACE}) FROM {log} WHERE _op = 't' AND {below}), -1)"
    last = f"SELECT {key}, max({PLACE}) AS _place FROM {log} WHERE {below} AND _op <> 't' GROUP BY {key}"
    return (
        f"SELECT {names} FROM (SELECT *, {PLACE} AS _place FROM {log} WHERE {below}) SEMI JOIN ({last}) "
        f"USING ({key}, _place) WHERE _op NOT IN ('d', 't') AND _place > {cut} UNION ALL "
        f"SELECT {names} FROM (SELECT * FROM {base} WHERE {below} AND {PLACE} > {cut}) "
        f"ANTI JOIN (SELECT {key} FROM {log} WHERE {below} AND _op <> 't') USING ({key})"
    )
