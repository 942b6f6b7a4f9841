"""Records back to batches: of all three formats, our own and Debezium's, in whatever way their values are written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from ...errors import BitVelocityError, MissingExtraError
from ..batch import Batch
from .apart import GLOBAL, Group, tell_apart, whole, with_apicurio
from .avro.reading import AvroReader, Values
from .bare import Bare
from .extracted import NO_CHANGE, NOT_A_CHANGE
from .heads import header_columns, own_changes
from .jsonread import JsonReader, schemas_of
from .layout import Schema
from .notation import Kind
from .protobuf.reading import ProtobufReader
from .restored import Piece, Told, batches_of, pieces_of

_NAMES = (
    "bv-change", "bv-user", "bv-correlation-id", "bv-source", "bv-absent", "bv-unfit", "bv-columns", "ce_subject",
    "__debezium.newkey", "__debezium.oldkey", "__key_schema_id", "__value_schema_id",
    "apicurio.key.contentId", "apicurio.value.contentId", "apicurio.key.globalId", "apicurio.value.globalId",
)  # fmt: skip
_UNTOLD = {"debezium": ("op", "before", "after", "source.schema", "source.table")}
"""What our own records say in their values and not in their headers."""


class Reader(Protocol):
    """Reads values that have one schema."""

    @property
    def connect(self) -> Schema: ...

    def read(self, values: Any, skip: int = 0, *, only: Collection[str] = ()) -> pl.DataFrame:
        """`values` is an array; for Avro it may be a chunked one. `only`: the fields that are asked for; others may be left out."""


@dataclass(frozen=True, slots=True)
class SchemaText:
    """A schema as a registry keeps it; what it refers to stands in `references`, by name. Protobuf: descriptors in base64."""

    kind: Kind
    text: str
    references: dict[str, str] = field(default_factory=dict)


Lookup = Callable[[bytes], SchemaText]
"""The schema that a frame names: four bytes are an id, sixteen a GUID. Unknown is an error."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that cannot be read: its row in the table that was given, and why."""

    row: int
    reason: str
    code: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Batches in the order of the records, and those records that are in none."""

    batches: tuple[Batch, ...]
    refused: tuple[Refused, ...] = ()


def _unknown(_: bytes) -> SchemaText:
    raise ValueError("the value names a schema of a registry, and no registry was given")


class Decoder:
    """Reads the records of one format. A record that cannot be read does not stop the others.

    `relation` is the table that a topic's records are of, where these do not say it themselves.
    `detail` gives batches the columns of `DETAIL_FIELDS`, as far as records tell them; `sequence` gives them
    two last columns: `_sequence`, which is Debezium's `source.sequence`, and `_row`, the row of the record. `only_changes` refuses what can be read and is no change, such as
    a message, which else is passed by. `bare` reads JSON without schemas, which else is refused.
    """

    def __init__(
        self, form: str, lookup: Lookup = _unknown, *, relation: Callable[[str], str] = str, detail: bool = False,
        placeholder: str = "__debezium_unavailable_value", sequence: bool = False, only_changes: bool = False,
        bare: Bare | None = None,
    ) -> None:  # fmt: skip
        self._form, self._lookup, self._relation, self._detail = form, lookup, relation, detail
        self._placeholder, self._sequence, self._only_changes = placeholder, sequence, only_changes
        self._bare = bare
        self._readers: dict[bytes, Reader] = {}

    def decode(self, records: pa.Table, topic: str = "") -> Decoded:
        """`records` has `key`, `value`, `headers`, in order; other columns are passed by."""
        columns: dict[str, Any] = {name: records[name] for name in ("key", "value")}
        heads = with_apicurio(header_columns(records["headers"], _NAMES))
        refused: list[Refused] = []
        pieces: list[Piece] = []
        rewritten = False
        told = Told(
            self._form, self._relation(topic), heads, own_changes(heads["bv-change"]), self._placeholder
        )
        only = () if told.own is None or self._sequence else _UNTOLD.get(self._form, ())
        for rows, frame, schema in self._read(columns["value"], heads["__value_schema_id"], refused, only, topic=topic):
            keys = self._key_names(columns["key"], heads["__key_schema_id"], rows)
            found = list(pieces_of(told, rows, frame, schema, keys=keys))
            if self._only_changes and not found:
                refused += [Refused(int(row), NOT_A_CHANGE, NO_CHANGE) for row in rows]
            pieces += found
            rewritten = rewritten or "__deleted" in frame.columns
        if self._form == "debezium-unwrapped" and not rewritten:
            pieces += self._gone(told, columns, heads, refused)
        return Decoded(
            tuple(batches_of(told, pieces, detail=self._detail, sequence=self._sequence)),
            tuple(sorted(refused, key=lambda one: one.row)),
        )

    def _read(
        self, values: Values, guids: pl.Series, refused: list[Refused], only: Collection[str] = (), *, topic: str | None = None
    ) -> Iterator[tuple[np.ndarray, pl.DataFrame, Schema]]:
        """Values by their schema: rows, columns, schema. `topic` is that of values without one."""
        for name, group in tell_apart(values, guids):
            if name:
                yield from self._group(name, group, refused, only)
                continue
            for text, within in schemas_of(whole(group.values)):
                inside = Group(group.rows[within], group.values.take(pa.array(within)), 0)
                if self._bare is not None and topic is not None and not text:
                    yield from self._without(self._bare, topic, inside, refused)
                else:
                    yield from self._group(text, inside, refused, only)

    def _without(
        self, bare: Bare, topic: str, group: Group, refused: list[Refused]
    ) -> Iterator[tuple[np.ndarray, pl.DataFrame, Schema]]:
        """Values without a schema, of tables that are declared."""

        def fault(row: int, reason: str, code: str) -> None:
            refused.append(Refused(int(group.rows[row]), reason, code))

        for part in bare.read(topic, whole(group.values), fault):
            yield group.rows[part.rows], part.frame, part.schema

    def _group(
        self, name: bytes, group: Group, refused: list[Refused], only: Collection[str]
    ) -> Iterator[tuple[np.ndarray, pl.DataFrame, Schema]]:
        try:
            reader = self._reader(name)
        except MissingExtraError:  # no fault of the records
            raise
        except (BitVelocityError, LookupError, ValueError, TypeError) as error:
            code = error.code if isinstance(error, BitVelocityError) else "UnknownSchema"
            refused += [Refused(int(row), str(error), code) for row in group.rows]
            return
        if not isinstance(reader, AvroReader):
            group = replace(group, values=whole(group.values))
        for kept, frame in _readable(reader, group, refused, only):
            yield kept, frame, reader.connect

    def _reader(self, name: bytes) -> Reader:
        """`name`: an id, a GUID, or the text of a JSON value's own schema."""
        if name not in self._readers:
            if name == GLOBAL:
                raise ValueError(
                    "the header apicurio.value.globalId names the schema, and registries are asked by content: "
                    "let the converter write apicurio.registry.use-id=contentId"
                )
            if len(name) in (4, 16):
                self._readers[name] = _reader_of(self._lookup(name))
            else:
                self._readers[name] = JsonReader.embedded(name.decode(), self._form)
        return self._readers[name]

    def _key_names(self, keys: Values, guids: pl.Series, rows: np.ndarray) -> tuple[str, ...]:
        """Fields of the records' keys."""
        valid = keys.is_valid().to_numpy(zero_copy_only=False)[rows]
        if not valid.any():
            return ()
        first = int(rows[int(valid.argmax())])
        try:
            schemas = list(self._key_schemas(whole(keys.slice(first, 1)), guids.slice(first, 1)))
        except (BitVelocityError, LookupError, ValueError, TypeError):  # the value may be read without it
            return ()
        return tuple(one["field"] for one in schemas[0].get("fields", ())) if schemas else ()

    def _key_schemas(self, keys: pa.Array[Any], guids: pl.Series) -> Iterator[Schema]:
        for name, _ in tell_apart(keys, guids):
            for text in [name] if name else [found for found, _ in schemas_of(keys)]:
                yield self._reader(text).connect

    def _gone(
        self,
        told: Told,
        columns: dict[str, Any],
        heads: dict[str, pl.Series],
        refused: list[Refused],
    ) -> Iterator[Piece]:
        """Tombstones, where they are all that is left of a delete: their rows are made of their keys."""
        is_gone = columns["value"].is_null().to_numpy(zero_copy_only=False)
        rows = np.nonzero(is_gone)[0]
        if not len(rows):
            return
        keys = whole(columns["key"].take(pa.array(rows, pa.int64())))
        for within, frame, schema in self._read(keys, heads["__key_schema_id"].gather(rows), refused):
            yield Piece.of_keys(told, rows[within], frame, schema)


def _reader_of(schema: SchemaText) -> Reader:
    if schema.kind == "AVRO":
        return AvroReader.of(schema.text, schema.references.values())
    if schema.kind == "JSON":
        return JsonReader.registered(schema.text)
    if schema.kind == "PROTOBUF":
        return ProtobufReader.of(schema.text, schema.references.values())
    raise ValueError(f"values whose schema is of the kind {schema.kind} cannot be read")


_BROKEN = (
    pl.exceptions.PolarsError, pl.exceptions.PanicException, LookupError, ValueError, TypeError, EOFError,
)  # fmt: skip
"""What a reader of Avro or JSON says of bytes that are something else."""
_FEW = 20
"""One broken value among thousands is found by so many halves."""


def _readable(
    reader: Reader, group: Group, refused: list[Refused], only: Collection[str], *, failed: list[int] | None = None
) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
    """Read all at once; if that fails, one half after the other, until what cannot be read stands alone.

    Where that fails often, values are judged one by one: it takes a fiftieth of the time. `failed`: sizes of what failed.
    """
    try:
        yield group.rows, reader.read(group.values, group.skip, only=only)
    except _BROKEN as error:
        failed = [] if failed is None else failed
        failed.append(len(group.rows))
        if len(group.rows) == 1:
            refused.append(_broken(group.rows[0], error))
            return
        faults = reader.faults(group.values, group.skip) if len(failed) > _FEW and isinstance(reader, AvroReader) else None
        if faults and any(faults):
            refused += [_broken(row, what) for row, what in zip(group.rows, faults, strict=True) if what]
            good = np.flatnonzero([not what for what in faults])
            parts: Iterable[Any] = [good] if len(good) else ()
        else:
            middle = len(group.rows) // 2
            parts = (slice(None, middle), slice(middle, None))
        for part in parts:
            yield from _readable(reader, group.part(part), refused, only, failed=failed)


def _broken(row: Any, what: object) -> Refused:
    return Refused(int(row), f"the value is not what its schema says: {what}", "UnreadableValue")


__all__ = ["NO_CHANGE", "Decoded", "Decoder", "Lookup", "Reader", "Refused", "SchemaText"]
