"""Row images: the tuples of many row changes, read one column at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bitvelocity.errors import CaptureError

from .buffer import Buffer, Flags, Offsets, Strings, Views
from .relation import Relation

_NULL, _UNCHANGED, _TEXT, _BINARY = b"nutb"
_SAME_IN_BINARY = frozenset((17 + 1, 19, 25, 114, 142, 705, 1042, 1043))
"""Types ("char", name, text, json, xml, unknown, char(n), varchar) whose binary form is their text."""


@dataclass(slots=True)
class Image:
    """One column of one image. `valid` None: every row has a value; `absent` None: no value was held back."""

    views: Views | None
    """None when no row has a value."""
    valid: Flags | None
    absent: Flags | None = None


def read_images(buffer: Buffer, at: Offsets, relation: Relation) -> tuple[list[Image], Offsets]:
    """Read the tuples whose first column begins at each of `at`; also tells where each tuple ends."""
    at = at.copy()
    return [_read_column(buffer, at, relation, column) for column in range(len(relation.columns))], at


def _read_column(buffer: Buffer, at: Offsets, relation: Relation, column: int) -> Image:
    """Read one column and move `at` to the next one."""
    kind = buffer.bytes[at]
    has_value: Flags = kind == _TEXT
    if has_value.all():
        at += 1
        views, lengths = buffer.counted(at)
        at += lengths
        at += 4
        return Image(views, None)
    if (kind == _BINARY).any():
        _refuse_binary(relation, column)
        has_value |= kind == _BINARY
    unchanged = kind == _UNCHANGED
    absent = unchanged if unchanged.any() else None
    at += 1
    if not has_value.any():
        return Image(None, has_value, absent)
    views, lengths = buffer.counted(at, has_value)
    at += lengths
    at += has_value * np.int64(4)
    return Image(views, has_value, absent)


def _refuse_binary(relation: Relation, column: int) -> None:
    if relation.types[column] not in _SAME_IN_BINARY:
        raise CaptureError(
            f"Column {relation.columns[column]} came in PostgreSQL's binary form.",
            entity=relation.qualified,
            safe="Nothing of this transaction was taken; the source still has it.",
            remedy="Start the stream without the option `binary`: values are kept as the source prints them.",
        )


def fill_unchanged(after: list[Image], before: list[Image]) -> None:
    """Give columns whose value the source held back (unchanged TOAST) the old value, where it was sent."""
    for new, old in zip(after, before, strict=True):
        if new.absent is None or old.views is None:
            continue
        known = new.absent if old.valid is None else new.absent & old.valid
        if not known.any():
            continue
        if new.views is None:
            new.views = np.zeros_like(old.views)
        new.views[known] = old.views[known]
        new.valid = known if new.valid is None else new.valid | known
        left = new.absent & ~known
        new.absent = left if left.any() else None


def absent_names(after: list[Image], relation: Relation, count: int) -> Strings:
    """The column `_absent`: which columns of each row the source did not send, as JSON; NULL for none."""
    missing = [j for j, image in enumerate(after) if image.absent is not None]
    if not missing:
        return pa.nulls(count, pa.string())
    flags = np.stack([np.asarray(after[j].absent) for j in missing], axis=1)
    sets, which = np.unique(flags, axis=0, return_inverse=True)
    texts = [relation.names_as_json(missing[j] for j in np.flatnonzero(row)) for row in sets]
    return pa.array(texts, pa.string()).take(pa.array(which.ravel(), pa.int64()))
