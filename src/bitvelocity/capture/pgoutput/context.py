"""The audit context: who did it, from the logical message that an application puts into its transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .buffer import TAIL, Buffer, Flags, Offsets, Strings

PREFIX = b"bv.audit\0"
FIELDS = ("user", "correlation_id", "source")
"""Keys of the message's JSON, in the order of the columns `_operation_user`, `_correlation_id`, `_source`."""

Context = tuple[str | None, ...]
NOBODY: Context = (None, None, None)

_TRANSACTIONAL = 1


def is_context(buffer: Buffer, at: Offsets) -> Flags:
    """Which of the messages, whose flags stand at `at`, are transactional audit contexts."""
    ours: Flags = (buffer.bytes[at] == _TRANSACTIONAL) & buffer.matches(at + 9, PREFIX)
    return ours


def read_context(buffer: Buffer, at: int) -> Context:
    """The context in the message whose flags stand at `at`."""
    at += 9 + len(PREFIX)
    size = int.from_bytes(buffer.raw[at : at + 4], "big")
    return parse_context(bytes(buffer.raw[at + 4 : at + 4 + size]))


def parse_context(content: bytes) -> Context:
    """The context that a message says; nobody when it is no JSON object (an application may write anything)."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return NOBODY
    return tuple(_text(said.get(field)) for field in FIELDS) if isinstance(said, dict) else NOBODY


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def context_columns(contexts: Sequence[Context], rows: npt.NDArray[np.int64]) -> list[Strings]:
    """One column per field: row `i` has the context number `rows[i]`."""
    return [_column([context[field] for context in contexts], rows) for field in range(len(FIELDS))]


def _column(values: list[str | None], rows: npt.NDArray[np.int64]) -> Strings:
    if not any(value is not None for value in values):
        return pa.nulls(len(rows), pa.string_view())
    texts = [b"" if value is None else value.encode("utf-8", "replace") for value in values]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    buffer = Buffer(b"".join((b"\0" * 4, *texts, b"\0" * TAIL)))
    views = buffer.spans(4 + np.cumsum(lengths) - lengths, lengths)
    valid = np.fromiter((value is not None for value in values), np.bool_, len(values))
    return buffer.strings(views[rows], valid[rows])
