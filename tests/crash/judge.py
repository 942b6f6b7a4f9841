"""Whether anything was lost or doubled: bronze against the server's own decoding of its WAL, position by position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from psycopg import sql

from bitvelocity.flow import Database, Project, Verdict, open_reader, prove
from bitvelocity.flow.companion import Check
from bitvelocity.oltp import connect
from bitvelocity.serving import ask

Place = tuple[int, int]
CHANGES = """
select data from pg_logical_slot_get_binary_changes(%s, null, null, 'proto_version', '1', 'publication_names', %s)"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the judge saw. `ok` is that all of it is as it must be."""

    events: int
    bronze: int
    lost: int
    doubled: int
    invented: int
    """Events of bronze that the server does not know."""
    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Nothing lost, doubled or invented; silver is the source; gold is its recompute."""
        return not (self.lost or self.doubled or self.invented) and self.verdict.ok

    def __str__(self) -> str:
        wrong = "" if self.verdict.ok else f"; reconcile: {self.verdict.as_dict()}"
        return f"{self.events} events, {self.bronze} in bronze, {self.lost} lost, {self.doubled} doubled, {self.invented} invented{wrong}"


@dataclass
class Witness:
    """A second slot: the server itself says which changes were committed, and where they stand."""

    dsn: str
    slot: str
    publication: str = "bitvelocity"
    places: set[Place] = field(default_factory=set)
    since: int | None = None
    """LSN above which every change must be in bronze; None: that of the first snapshot, found among its rows."""

    def begin(self) -> None:
        with connect(self.dsn, autocommit=True) as connection:
            connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [self.slot])

    def listen(self) -> set[Place]:
        """All positions of changes up to now."""
        with connect(self.dsn, autocommit=True) as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(CHANGES, [self.slot, sql.Identifier(self.publication).as_string()])
            self.places.update(places(data for (data,) in cursor))
        return self.places


def places(messages: Iterator[bytes]) -> Iterator[Place]:
    """The positions of the changes in a stream of pgoutput messages: a TRUNCATE is one for each of its tables."""
    lsn = ordinal = 0
    for data in messages:
        match data[:1]:
            case b"B":
                lsn, ordinal = int.from_bytes(data[1:9], "big"), 0
            case b"I" | b"U" | b"D" | b"T":
                count = int.from_bytes(data[1:5], "big") if data[:1] == b"T" else 1
                yield from ((lsn, ordinal + n) for n in range(count))
                ordinal += count


def judge(project: Project, witness: Witness, check: Check) -> Finding:
    """Let the lake come level, and compare all of it. Nobody may write meanwhile."""
    verdict = prove(project, Database(witness.dsn), check)
    rows = " union all ".join(f"select operation_type as op, _lsn, _ordinal from bronze.{spec.name}" for spec in project.specs)
    with open_reader(project) as reader:
        found = ask(reader, f"select op, _lsn, _ordinal from ({rows})", limit=None).rows
    read = list(zip(*(found[name].to_pylist() for name in ("op", "_lsn", "_ordinal")), strict=True))
    began = witness.since
    if began is None:
        began = min((lsn for op, lsn, _ in read if op == "SNAPSHOT"), default=-1)
    expected = {place for place in witness.listen() if place[0] > began}
    streamed = {(lsn, ordinal) for op, lsn, ordinal in read if op != "SNAPSHOT"}
    return Finding(
        events=len(expected),
        bronze=len(read),
        lost=len(expected - streamed),
        doubled=len(read) - len({(lsn, ordinal) for _, lsn, ordinal in read}),
        invented=len(streamed - expected),
        verdict=verdict,
    )
