"""Rows of one table in one shape as a batch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from bitvelocity.changes import Batch
from bitvelocity.errors import CaptureError

from .buffer import Flags, Offsets, Strings, letters
from .contexts import Contexts
from .extras import old_kinds
from .images import Image, absent_names, fill_unchanged, read_images
from .piece import INSERT, OPS, TRUNCATE, UPDATE, Piece
from .relation import Relation
from .rows import Rows

_NEW = ord("N")


def row_batch(piece: Piece, relation: Relation, rows: Rows, contexts: Contexts, *, detail: bool) -> Batch:
    after, before = _images(piece, relation, rows)
    count = len(rows)
    void = pa.nulls(count, pa.string_view())
    arrays = [
        letters(OPS[rows.kind]),
        pa.array(rows.lsn),
        pa.array(rows.ordinal.astype(np.int32)),
        pa.array(rows.xid),
        pa.array(rows.committed_at).view(pa.timestamp("us", "UTC")),
        *contexts.columns(rows.context),
        absent_names(after, relation, count),
    ]
    if detail:
        arrays.append(pa.array(piece.lsns(rows.frame)))
        arrays.append(old_kinds(piece.buffer, rows.at + 4, _has_old(piece, rows)))
    for images in (after, before):
        arrays += [_column(piece, image, void) for image in images] or [void] * len(relation.columns)
    names = relation.names_with_detail if detail else relation.names
    data = pa.Table.from_arrays(arrays, names=list(names))
    return Batch(relation.qualified, relation.columns, data, relation.shape)


def _column(piece: Piece, image: Image, void: Strings) -> Strings:
    return void if image.views is None else piece.buffer.strings(image.views, image.valid)


def _images(piece: Piece, relation: Relation, rows: Rows) -> tuple[list[Image], list[Image]]:
    """Both images of each column; an empty list when no row has that image."""
    after: list[Image] = []
    before: list[Image] = []
    tag = rows.at + 4
    has_old = _has_old(piece, rows)
    has_new = (rows.kind == INSERT) | (rows.kind == UPDATE)
    if has_old.any():
        before, end = _read(piece, relation, tag, has_old)
        tag = np.where(has_old, end, tag)
    if has_new.any():
        after, _ = _read(piece, relation, tag, has_new)
    if after and before:
        fill_unchanged(after, before)
    return after, before


def _has_old(piece: Piece, rows: Rows) -> Flags:
    has_old: Flags = (piece.buffer.bytes[rows.at + 4] != _NEW) & (rows.kind != TRUNCATE)
    return has_old


def _read(piece: Piece, relation: Relation, tag: Offsets, has: Flags) -> tuple[list[Image], Offsets]:
    """The tuples that follow the tags of those rows that have one; NULLs for the others."""
    width = piece.buffer.u16(tag[has] + 1)
    if (width != len(relation.columns)).any():
        raise CaptureError(
            "A row of the stream does not have the columns that the stream declared.",
            entity=relation.qualified,
            safe="Nothing of this transaction was taken; the source still has it.",
            remedy="A defect of the reader, or of a proxy in between: report it with the server's version.",
        )
    return read_images(piece.buffer, np.where(has, tag + 3, piece.nulls_at), relation)
