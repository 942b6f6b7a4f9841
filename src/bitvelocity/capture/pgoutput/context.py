"""The audit context: who did it, from the logical message that an application puts into its transaction."""

from __future__ import annotations

import json
import re

from .buffer import Buffer, Flags, Offsets

PREFIX = b"bv.audit\0"
FIELDS = ("user", "correlation_id", "source")
"""Keys of the message's JSON, in the order of the columns `_operation_user`, `_correlation_id`, `_source`."""

Context = tuple[bytes | None, ...]
"""The fields in UTF-8."""
NOBODY: Context = (None, None, None)

_TRANSACTIONAL = 1
_TEXT = rb'"([ !#-\[\]-~]*)"'
PLAIN = re.compile(
    rb'\{"user": ?'
    + _TEXT
    + rb'(?:, ?"correlation_id": ?'
    + _TEXT
    + rb')?(?:, ?"source": ?'
    + _TEXT
    + rb')?(?:, ?"traceparent": ?'
    + _TEXT
    + rb')?\}'
)
"""What `bv.audit` writes when all letters are ASCII without escapes: read at a quarter of the price of a JSON
parser. Its groups are the fields, and the trace, which is no column.
"""


def is_context(buffer: Buffer, at: Offsets) -> Flags:
    """Which of the messages, whose flags stand at `at`, are transactional audit contexts."""
    ours: Flags = (buffer.bytes[at] == _TRANSACTIONAL) & buffer.matches(at + 9, PREFIX)
    return ours


def parse_context(content: bytes) -> Context:
    """The context in any message; nobody when it is no JSON object: applications write what they like."""
    if plain := PLAIN.fullmatch(content):
        return plain.groups()[: len(FIELDS)]
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
