"""The audit context: who did it, from the logical message that an application puts into its transaction."""

from __future__ import annotations

import json
import re

import pyarrow as pa

from .buffer import Buffer, Flags, Offsets, Strings

PREFIX = b"bv.audit\0"
FIELDS = ("user", "correlation_id", "source")
"""Keys of the message's JSON, in the order of the columns `_operation_user`, `_correlation_id`, `_source`."""

Context = tuple[bytes | None, ...]
"""The fields in UTF-8."""
NOBODY: Context = (None, None, None)

_TRANSACTIONAL = 1
_TEXT = rb'"([ !#-\[\]-~]*)"'
_plain = re.compile(
    rb'\{"user": ?'
    + _TEXT
    + rb'(?:, ?"correlation_id": ?'
    + _TEXT
    + rb')?(?:, ?"source": ?'
    + _TEXT
    + rb')?(?:, ?"traceparent": ?"[0-9a-f-]*")?\}'
).fullmatch
"""What `bv.audit` writes when all letters are ASCII without escapes: read at a quarter of the price of a JSON
parser.
"""


def is_context(buffer: Buffer, at: Offsets) -> Flags:
    """Which of the messages, whose flags stand at `at`, are transactional audit contexts."""
    ours: Flags = (buffer.bytes[at] == _TRANSACTIONAL) & buffer.matches(at + 9, PREFIX)
    return ours


class Contexts:
    """The contexts of a piece, numbered: 0 is nobody, 1 the one carried over, then one for each message.

    `at` is where the messages' flags stand. This is a step per message, of which there is one in
    a transaction.
    """

    def __init__(self, buffer: Buffer, at: Offsets, carried: Context) -> None:
        size = at + 9 + len(PREFIX)
        begin = size + 4
        spans = zip(begin.tolist(), (begin + buffer.u32(size)).tolist(), strict=True)
        raw = buffer.raw
        self._known: list[Context] = [NOBODY, carried]
        self._known += [
            plain.groups() if (plain := _plain(raw, start, end)) else parse_context(bytes(raw[start:end]))
            for start, end in spans
        ]

    def __getitem__(self, number: int) -> Context:
        return self._known[number]

    def columns(self, rows: Offsets) -> list[Strings]:
        """One column per field: row `i` has the context number `rows[i]`."""
        which: pa.Int64Array = pa.array(rows, pa.int64())
        return [_column(values, which) for values in zip(*self._known, strict=True)]


def _column(values: tuple[bytes | None, ...], which: pa.Int64Array) -> Strings:
    if not any(values) and set(values) == {None}:
        return pa.nulls(len(which), pa.string())
    return pa.array(values, pa.string()).take(which)


def parse_context(content: bytes) -> Context:
    """The context in any message; nobody when it is no JSON object: applications write what they like."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return NOBODY
    return tuple(_text(said.get(field)) for field in FIELDS) if isinstance(said, dict) else NOBODY


def _text(value: object) -> bytes | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace")  # JSON may hold halves of surrogate pairs, UTF-8 may not
