"""The audit context: who did it, from the logical message that an application puts into its transaction."""

from __future__ import annotations

import json

import polars as pl
import pyarrow as pa

from .buffer import Buffer, Flags, Offsets, Strings

PREFIX = b"bv.audit\0"
FIELDS = ("user", "correlation_id", "source")
"""Keys of the message's JSON, in the order of the columns `_operation_user`, `_correlation_id`, `_source`."""

Context = tuple[str | None, ...]
NOBODY: Context = (None, None, None)

_TRANSACTIONAL = 1
_SCHEMA = dict.fromkeys(FIELDS, pl.String)


def is_context(buffer: Buffer, at: Offsets) -> Flags:
    """Which of the messages, whose flags stand at `at`, are transactional audit contexts."""
    ours: Flags = (buffer.bytes[at] == _TRANSACTIONAL) & buffer.matches(at + 9, PREFIX)
    return ours


class Contexts:
    """The contexts of a piece, numbered: 0 is nobody, 1 the one carried over, then one for each message.

    `at` is where the messages' flags stand.
    """

    def __init__(self, buffer: Buffer, at: Offsets, carried: Context) -> None:
        known = pl.DataFrame([NOBODY, carried], schema=_SCHEMA, orient="row")
        if len(at):
            views, _ = buffer.counted(at + 9 + len(PREFIX))
            contents = pl.Series(pl.from_arrow(buffer.binaries(views)))
            known = pl.concat([known, parse_contexts(contents)])
        self._known = known

    def __getitem__(self, number: int) -> Context:
        return self._known.row(number)

    def columns(self, rows: Offsets) -> list[Strings]:
        """One column per field: row `i` has the context number `rows[i]`."""
        void = pa.nulls(len(rows), pa.string_view())
        return [
            void if field.null_count() == len(field) else _arrow(field.gather(rows))
            for field in self._known.get_columns()
        ]


def _arrow(series: pl.Series) -> Strings:
    return series.to_arrow(compat_level=pl.CompatLevel.newest())


def parse_contexts(contents: pl.Series) -> pl.DataFrame:
    """The contexts in some messages' bytes; nobody where they are no JSON object: applications write what they like.

    All at once, a tenth of the price of one by one. What the fast parser refuses is looked for by halving, so that
    a message means the same whatever stands beside it.
    """
    if (said := _parse_fast(contents)) is not None:
        return said
    if len(contents) == 1:
        return pl.DataFrame([parse_context(contents[0])], schema=_SCHEMA, orient="row")
    half = len(contents) // 2
    return pl.concat([parse_contexts(contents[:half]), parse_contexts(contents[half:])])


def _parse_fast(contents: pl.Series) -> pl.DataFrame | None:
    try:
        said = contents.cast(pl.String).str.json_decode(pl.Struct(_SCHEMA))
    except pl.exceptions.ComputeError:  # one of them is no UTF-8, no JSON or no object
        return None
    return said.struct.unnest() if len(said) == len(contents) else None  # Polars gives no row for a lone empty text


def parse_context(content: bytes) -> Context:
    """One context, slowly."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return NOBODY
    return tuple(_text(said.get(field)) for field in FIELDS) if isinstance(said, dict) else NOBODY


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else value.encode("utf-8", "replace").decode()
    return json.dumps(value, ensure_ascii=False)
