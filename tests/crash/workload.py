"""What applications do to a database, one act after the other: each act is hard for change capture in its own way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import psycopg

from bitvelocity.oltp import audit, connect

TABLES = """
create table items (id bigint primary key, shelf text, pieces numeric(12, 3));
alter table items replica identity full;
create table notes (id bigint primary key, title text, body text);
alter table notes alter body set storage external;
create table moves (id bigint, area int, amount numeric(12, 2), primary key (id, area)) partition by list (area);
create table moves_1 partition of moves for values in (1);
create table moves_2 partition of moves for values in (2);
create table moves_3 partition of moves for values in (3);
"""
ENTITIES = '''
from decimal import Decimal
from typing import Annotated

from bitvelocity.contracts import Entity, Key, Numeric


class Item(Entity, table="items", name="items", managed=False, audit=False):
    """Its rows are told apart by all their columns."""

    id: Annotated[int, Key()]
    shelf: str | None
    pieces: Annotated[Decimal | None, Numeric(12, 3)]


class Note(Entity, table="notes", name="notes", managed=False, audit=False):
    """Its text is kept outside of the row, and is not sent when it did not change."""

    id: Annotated[int, Key()]
    title: str | None
    body: str | None


class Move(Entity, table="moves", name="moves", managed=False, audit=False):
    """A partitioned table."""

    id: Annotated[int, Key()]
    area: Annotated[int, Key()]
    amount: Annotated[Decimal | None, Numeric(12, 2)]
'''
MODELS = {
    "shelves": """-- model: shelves
-- key: shelf
-- columns:
--   shelf   text
--   n       bigint
--   pieces  decimal(18,3)
select shelf, count(*) as n, sum(pieces) as pieces from silver.items where shelf is not null group by shelf
""",
    "areas": """-- model: areas
-- key: area
-- columns:
--   area    bigint
--   amount  decimal(18,2)
select area, sum(amount) as amount from silver.moves group by area
""",
}
FILL = """
insert into items select n, 'shelf ' || mod(n, 7), n * 1.125 from generate_series(%s::bigint, %s::bigint) as n"""
BODY = "(select string_agg(md5(n::text || x::text), '') from generate_series(1, 200) as x)"
MANY = 1_200
"""Rows of a transaction that a server with 64 kB of memory for it streams before it commits."""


class Workload:
    """Acts against one database, on two connections: the second holds a large transaction open."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection = connect(dsn, autocommit=True, application_name="workload")
        self._ids = itertools.count(1)

    def close(self) -> None:
        self._connection.close()

    def elsewhere(self, dsn: str) -> Workload:
        """The same, going on in another place."""
        other = Workload(dsn)
        other._ids = self._ids
        return other

    def insert_many(self) -> None:
        """One statement, many rows."""
        self._fill(40)

    def grow(self) -> None:
        """Enough for a fold, and a commit for it to land with."""
        self._fill(MANY)
        self._fill(1)

    def alter_and_go_on(self) -> None:
        """A new column, and a round after it."""
        self.alter()
        self.round()

    def alter(self) -> None:
        """A new column."""
        self._connection.execute(f"alter table notes add column extra_{self._take(1)} text".encode())

    def round(self) -> None:
        """Every act once."""
        for act in ACTS.values():
            act(self)

    def _copy(self) -> None:
        """A thousand rows of a COPY may share one LSN."""
        first = self._take(80)
        with self._connection.cursor().copy("copy items from stdin") as copy:
            for number in range(first, first + 80):
                copy.write_row((number, None if number % 9 == 0 else f"bin\t{number % 5}\n", number % 100))

    def _move_keys(self) -> None:
        """Updates of the key: the old row goes, a new one comes, at one position."""
        first = self._fill(20)
        self._connection.execute("update items set id = -id where id >= %s and mod(id, 2) = 0", [first])

    def _several_tables(self) -> None:
        """One transaction over all tables, with deletes."""
        first = self._take(6)
        connection = self._connection
        with connection.transaction(), audit(connection, user="workload:several", correlation_id=f"c{first}"):
            connection.execute("insert into items values (%s, 'both', 1), (%s, 'both', 2)", [first, first + 1])
            connection.execute("insert into moves values (%s, 1, 5.25)", [first])
            connection.execute("insert into notes values (%s, 'with', 'short')", [first])
            connection.execute("delete from items where id = %s", [first])
            connection.execute("update moves set amount = amount + 1 where id = %s", [first])

    def _move_partitions(self) -> None:
        """Updates that carry rows from one partition into another."""
        first = self._take(12)
        self._connection.execute(
            "insert into moves select n, mod(n, 3) + 1, n from generate_series(%s::bigint, %s::bigint) as n",
            [first, first + 11],
        )
        self._connection.execute("update moves set area = mod(area, 3) + 1, amount = -amount where id >= %s", [first])

    def _leave_text(self) -> None:
        """Updates of rows whose long text is not sent, in transactions of their own and in the one that made it."""
        first = self._take(8)
        connection = self._connection
        fill = f"insert into notes select n, 'long', {BODY} from generate_series(%s::bigint, %s::bigint) as n"
        connection.execute(fill, [first, first + 3])
        connection.execute("update notes set title = title || '!' where id >= %s", [first])
        with connection.transaction():
            connection.execute(fill, [first + 4, first + 7])
            connection.execute("update notes set title = 'again' where id >= %s", [first])
        connection.execute("update notes set id = -id where id = %s", [first])

    def _change_mind(self) -> None:
        """Savepoints that are rolled back, and a transaction that is."""
        connection = self._connection
        with connection.transaction(), audit(connection, user="workload:mind"):
            first = self._fill(10)
            with connection.transaction(force_rollback=True):
                connection.execute("update items set shelf = 'nowhere'")
                connection.execute("delete from notes")
            connection.execute("update items set shelf = 'last' where id >= %s", [first])
        with connection.transaction(force_rollback=True):
            self._fill(10)

    def _tell(self) -> None:
        """Logical messages: in a transaction, alone in one, and outside of any."""
        connection = self._connection
        connection.execute("select pg_logical_emit_message(false, 'workload', 'outside')")
        connection.execute("select pg_logical_emit_message(true, 'workload', 'alone')")
        with connection.transaction():
            connection.execute("select pg_logical_emit_message(true, 'bv.audit', '{\"user\": \"told\"}')")
            self._fill(1)
            connection.execute("select pg_logical_emit_message(true, 'workload', 'last of its transaction')")

    def _empty(self) -> None:
        """TRUNCATE of one table and of several, between other changes of its transaction."""
        connection = self._connection
        with connection.transaction():
            self._fill(5)
            connection.execute("truncate items, notes")
            self._fill(7)
        connection.execute("truncate moves")

    def flood(self) -> None:
        """A transaction that is streamed before it commits, with a part taken back, while small ones commit."""
        with connect(self._dsn, application_name="workload: flood") as large:
            first = self._take(2 * MANY)
            large.execute(FILL, [first, first + MANY - 1])
            self._fill(3)
            with large.transaction(force_rollback=True):
                large.execute(FILL, [first + MANY, first + 2 * MANY - 1])
            self._connection.execute("insert into moves values (%s, 2, 1)", [self._take(1)])
            large.execute("update items set pieces = pieces + 1 where id between %s and %s", [first, first + 300])
            self._fill(2)
            large.commit()

    def doubt(self) -> range:
        """A transaction that is streamed, and whose order does not tell with which savepoint a context went; the ids that stay."""
        told = "select pg_logical_emit_message(true, 'bv.audit', %s)"
        with connect(self._dsn, application_name="workload: doubt") as large:
            first = self._take(2 * MANY)
            large.execute(told, ['{"user": "outer"}'])
            large.execute(FILL, [first, first + 9])
            with large.transaction(force_rollback=True):
                large.execute(told, ['{"user": "inner"}'])
                large.execute(FILL, [first + MANY, first + 2 * MANY - 1])
            self._fill(1)
            large.execute(FILL, [first + 10, first + MANY - 1])
            large.commit()
        self._fill(2)
        return range(first, first + MANY)

    def _flood_in_vain(self) -> None:
        """A transaction that is streamed and then rolled back."""
        with connect(self._dsn, application_name="workload: in vain") as large:
            first = self._take(MANY)
            large.execute(FILL, [first, first + MANY - 1])
            self._fill(1)
            large.rollback()

    def _fill(self, rows: int) -> int:
        first = self._take(rows)
        self._connection.execute(FILL, [first, first + rows - 1])
        return first

    def _take(self, count: int) -> int:
        first = next(self._ids)
        for _ in range(count - 1):
            next(self._ids)
        return first


Act = Callable[[Workload], Any]
ACTS: dict[str, Act] = {
    "truncate": Workload._empty,
    "copy": Workload._copy,
    "multi-row insert": Workload.insert_many,
    "key updates": Workload._move_keys,
    "several tables": Workload._several_tables,
    "partition moves": Workload._move_partitions,
    "unchanged toast": Workload._leave_text,
    "savepoints": Workload._change_mind,
    "messages": Workload._tell,
    "streamed": Workload.flood,
    "streamed in vain": Workload._flood_in_vain,
}
"""In the order of a round: what empties tables comes first, so that at the end there is something in them."""


def make_tables(dsn: str) -> None:
    """The tables, in a database whose change stream streams transactions from 64 kB on."""
    with connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES.encode())
        name = psycopg.sql.Identifier(connection.info.dbname)
        connection.execute(psycopg.sql.SQL("alter database {} set logical_decoding_work_mem = '64kB'").format(name))
