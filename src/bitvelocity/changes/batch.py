"""Batches of changes as Arrow tables: the one form in which changes cross the house.

Columns of a batch, in this order:

| column | Arrow type | meaning |
|---|---|---|
| `_op` | string | `c` insert, `u` update, `d` delete, `t` truncate, `r` snapshot read |
| `_lsn` | int64 | commit LSN of the transaction |
| `_ordinal` | int32 | number of the row change in its transaction, from 0, over all tables |
| `_xid` | int64 | transaction id (0 for snapshot rows) |
| `_committed_at` | timestamp[us, UTC] | commit time by the source's clock |
| `_operation_user`, `_correlation_id`, `_source` | string | audit context of the transaction, NULL when none was given |
| `_absent` | string | JSON array of source column names whose value the source did not send (unchanged TOAST), else NULL |
| `after_<column>` | string | the value after the change, as the source printed it; NULL in a delete |
| `before_<column>` | string | the value before; NULL where the source did not send it |

"string" is `string` or `string_view`. Rows are in order of `(_lsn, _ordinal)`; a batch has one shape of row (one
version of the source table), so a table altered in mid-stream gives more than one batch.
An update that changes the key has the old key in `before_`, whatever the replica identity.

A source that was asked for *detail* puts `DETAIL_FIELDS` after the system columns:

| column | Arrow type | meaning |
|---|---|---|
| `_row_lsn` | int64 | LSN of the row's own record in the WAL |
| `_old` | string | what the source sent of the row before: `K` its key, `O` all of it, NULL nothing |

Two relations are no tables; sinks that keep tables pass them by (`is_table`):

| relation | `_op` | columns | a row is |
|---|---|---|---|
| `MESSAGES` | `m` | `prefix`, `content` (as bytea prints), `transactional` (`t`, `f`) | a logical message that the source was asked for. `_ordinal` is that of the next row change: messages take none. Outside a transaction `_lsn` is the message's own, `_xid` 0, `_committed_at` NULL |
| `TRANSACTIONS` | `x` | `end_lsn`, `begin_lsn` (numbers) | a transaction, after its rows; with detail only. `_ordinal` is 0 |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

AFTER = "after_"
BEFORE = "before_"

SYSTEM_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("_op", pa.string()),
    ("_lsn", pa.int64()),
    ("_ordinal", pa.int32()),
    ("_xid", pa.int64()),
    ("_committed_at", pa.timestamp("us", "UTC")),
    ("_operation_user", pa.string()),
    ("_correlation_id", pa.string()),
    ("_source", pa.string()),
    ("_absent", pa.string()),
)
SYSTEM_COLUMNS: tuple[str, ...] = tuple(name for name, _ in SYSTEM_FIELDS)

DETAIL_FIELDS: tuple[tuple[str, pa.DataType], ...] = (("_row_lsn", pa.int64()), ("_old", pa.string()))

MESSAGES = "pg_logical_message"
TRANSACTIONS = "pg_transaction"
"""Relations that are no tables; a table's name has a dot."""


def is_table(relation: str) -> bool:
    """Whether the rows of `relation` are changes of a table."""
    return relation not in (MESSAGES, TRANSACTIONS)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the source says of a table's columns, one item each in their order.

    `types` are type OIDs, `modifiers` their typmods, `key` tells which belong to the replica identity, and `identity`
    which kind that is, by PostgreSQL's letters: default, nothing, full, index.
    """

    oid: int
    types: tuple[int, ...]
    modifiers: tuple[int, ...]
    key: tuple[bool, ...]
    identity: Literal["d", "n", "f", "i"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes of one source table. `relation` is its qualified source name, `public.orders`."""

    relation: str
    columns: tuple[str, ...]
    """Source column names, in the source's order; `data` has `after_` and `before_` of each."""
    data: pa.Table
    shape: Shape | None = None
    """What the source says of these columns."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A commit boundary of the source: all and only the transactions up to it are in.

    - `lsn`: commit LSN of the last transaction.
    - `resume`: the LSN that may be confirmed to the source once everything up to here is durable.
    - `committed_at`: commit time of the last transaction, UTC microseconds since 1970 (0: unknown).
    """

    lsn: int
    resume: int
    committed_at: int = 0
    transactions: int = 0
    rows: int = 0


class ChangeSet(Protocol):
    """All batches up to one commit boundary. Iterate once; `mark` is right after the last batch was yielded.

    Batches come in the order of the source per table; between tables the order is by position only.
    A large transaction is decoded in pieces while it is iterated, so memory stays bounded.
    """

    @property
    def mark(self) -> Mark: ...

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True, slots=True)
class MemoryChangeSet:
    """A change set whose batches are all in memory."""

    batches: tuple[Batch, ...]
    mark: Mark

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)
