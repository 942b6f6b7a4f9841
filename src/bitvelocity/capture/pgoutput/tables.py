"""Rows by table: which shape of a table each row has, and many tables read at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa

from bitvelocity.changes import Batch, format_lsn
from bitvelocity.errors import CaptureError

from .batch import row_batch
from .contexts import Contexts
from .piece import RELATION, Index, Piece
from .relation import Relation, parse_relation
from .rows import Rows

Relations = dict[int, Relation]
Group = tuple[Relation, Index]
"""A table in one of its shapes, and the numbers of its rows."""
Shapes = dict[int, list[tuple[int, Relation]]]
"""The shapes of a table, each with the frame from which on it holds."""
_FEW = 2
"""Groups up to which each is read by itself."""


def find_shapes(piece: Piece, wide: int, relations: Relations) -> Shapes:
    """The shapes of the tables that this piece describes.

    Most pieces describe none: what is known of a thousand tables is not gone through for each piece.
    """
    shapes: Shapes = {}
    for number in np.flatnonzero(piece.kinds == RELATION).tolist():
        sent = piece.starts[number] + piece.layout.sent if piece.layout.sent else None
        relation = parse_relation(piece.buffer.raw, int(piece.at[number]) + 1 + wide, piece.end(number), sent)
        before = relations.get(relation.oid)
        relations[relation.oid] = relation
        known = shapes.setdefault(relation.oid, [] if before is None else [(-1, before)])
        if not known or known[-1][1] != relation:
            known.append((number, relation))
    return shapes


def by_relation(rows: Rows, shapes: Shapes, relations: Relations) -> list[Group]:
    """The numbers of each table's rows, one shape at a time, in the order of their first rows."""
    groups: list[tuple[int, Relation, Index]] = []
    for which in _of_each(rows.oid):
        first = int(which[0])
        oid = int(rows.oid[first])
        if oid not in relations:
            raise _undescribed(oid, int(rows.lsn[first]))
        versions = shapes.get(oid, ())
        if len(versions) <= 1:
            groups.append((first, versions[0][1] if versions else relations[oid], which))
            continue
        bounds = np.searchsorted(rows.frame[which], [start for start, _ in versions[1:]])
        for (_, relation), part in zip(versions, np.split(which, bounds), strict=True):
            if len(part):
                groups.append((int(part[0]), relation, part))
    return [(relation, part) for _, relation, part in sorted(groups, key=lambda group: group[0])]


def _of_each(oid: Index) -> list[Index]:
    """The numbers of each table's rows, in order; by one sort, for there may be a thousand tables."""
    if not len(oid):
        return []
    if (oid == oid[0]).all():
        return [np.arange(len(oid))]
    order = np.argsort(oid, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(oid[order])) + 1)


def table_batches(
    piece: Piece, rows: Rows, groups: list[Group], contexts: Contexts, *, detail: bool
) -> list[Batch]:
    """A batch for each group; with many groups, tables of the same number of columns are read together."""
    if len(groups) == 1:
        return [row_batch(piece, groups[0][0], rows, contexts, detail=detail)]
    if len(groups) <= _FEW:
        return [
            row_batch(piece, relation, rows.pick(part), contexts, detail=detail) for relation, part in groups
        ]
    widths: dict[int, list[int]] = {}
    for number, (relation, _) in enumerate(groups):
        widths.setdefault(len(relation.columns), []).append(number)
    made: dict[int, Batch] = {}
    for numbers in widths.values():
        alike = [groups[number] for number in numbers]
        made.update(zip(numbers, _alike(piece, rows, alike, contexts, detail=detail), strict=True))
    return [made[number] for number in range(len(groups))]


def _alike(
    piece: Piece, rows: Rows, groups: list[Group], contexts: Contexts, *, detail: bool
) -> Iterator[Batch]:
    """Batches of tables that have the same number of columns: read as one table, then cut."""
    anybody = replace(groups[0][0], types=(0,) * len(groups[0][0].columns))
    together = rows.pick(np.concatenate([part for _, part in groups]))
    with suppress(CaptureError):  # what is wrong is said below, of the right table
        whole = row_batch(piece, anybody, together, contexts, detail=detail).data
        if whole["_absent"].null_count == len(together):  # else the names in it are another table's
            (record,) = whole.to_batches()  # cheaper to cut than a table, whose columns are lists of chunks
            named: dict[tuple[str, ...], pa.RecordBatch] = {}
            end = 0
            for relation, part in groups:
                begin, end = end, end + len(part)
                if (mine := named.get(relation.columns)) is None:
                    names = relation.names_with_detail if detail else relation.names
                    mine = named[relation.columns] = record.rename_columns(list(names))
                cut = mine.slice(begin, len(part))
                yield Batch(relation.qualified, relation.columns, pa.Table.from_batches([cut]), relation.shape)
            return
    for relation, part in groups:
        yield row_batch(piece, relation, rows.pick(part), contexts, detail=detail)


def _undescribed(oid: int, lsn: int) -> CaptureError:
    return CaptureError(
        f"The stream changed table OID {oid} without having described it.",
        position=format_lsn(lsn),
        safe="Nothing of this transaction was taken; the source still has it.",
        remedy="Start the stream again: the server describes each table anew on each connection.",
    )
