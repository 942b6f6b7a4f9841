"""What the order of a stream tells of a message and the savepoints that were rolled back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory

from hypothesis import event, example, given
from hypothesis import strategies as st

from bitvelocity.capture.frames import Commit, Segment, Splitter, StreamAbort, StreamCommit
from bitvelocity.capture.spill import SpillFolder

from .test_frames import frame

TOP = 100
STEPS = ("row", "context", "message", "savepoint", "rollback", "release", "flush")


@dataclass
class Server:
    """Sends a transaction ahead of its commit as PostgreSQL does: what its savepoints hold goes out at each flush."""

    wire: bytes = b""
    stack: list[int] = field(default_factory=lambda: [TOP])
    parents: dict[int, int] = field(default_factory=dict)
    waiting: list[tuple[int, str, int]] = field(default_factory=list)
    sent: list[tuple[int, str, int]] = field(default_factory=list)
    number: int = 0

    def step(self, kind: str) -> None:
        self.number += 1
        match kind:
            case "row" | "context" | "message":
                self.waiting.append((self.stack[-1], kind, self.number))
            case "savepoint":
                self.parents[TOP + self.number] = self.stack[-1]
                self.stack.append(TOP + self.number)
            case "release" if len(self.stack) > 1:
                self.stack.pop()
            case "rollback" if len(self.stack) > 1:
                self.roll_back(self.stack.pop())
            case "flush":
                self.flush()

    def flush(self) -> None:
        self.wire += frame(b"S" + pack(">IB", TOP, 0)) + b"".join(map(_frame, self.waiting)) + frame(b"E")
        self.sent += self.waiting
        self.waiting = []

    def roll_back(self, savepoint: int) -> None:
        gone = [one for one in self.parents if savepoint in self.path(one)]
        for one in sorted({xid for xid, _, _ in self.sent if xid in gone}):
            self.wire += frame(b"A" + pack(">II", TOP, one))
        self.waiting = [one for one in self.waiting if one[0] not in gone]
        self.sent = [one for one in self.sent if one[0] not in gone]

    def path(self, xid: int) -> list[int]:
        return [xid, *(self.path(self.parents[xid]) if xid in self.parents else [])]

    def commit(self) -> None:
        self.flush()
        self.wire += frame(b"c" + pack(">IBQQq", TOP, 0, 1, 2, 3))

    @property
    def truth(self) -> tuple[list[int], dict[int, int]]:
        """The messages that stayed, and the context of each row."""
        contexts: dict[int, int] = {}
        last = 0
        for _, kind, number in self.sent:
            last = number if kind == "context" else last
            contexts |= {number: last} if kind == "row" else {}
        return [number for _, kind, number in self.sent if kind == "message"], contexts


def _frame(one: tuple[int, str, int]) -> bytes:
    xid, kind, number = one
    if kind == "row":
        return frame(b"I" + pack(">II", xid, number))
    prefix = b"bv.audit\0" if kind == "context" else b"outbox\0"
    return frame(b"M" + pack(">IBQ", TOP, 1, 0) + prefix + pack(">II", 4, number))


def taken(server: Server, folder: Path) -> tuple[bool, list[int], dict[int, int]]:
    """Whether the reader is unsure; all messages that came, and the context that each row would get."""
    spill, unsure = SpillFolder(folder, every_message=True), False
    for told in Splitter().feed(server.wire):
        if isinstance(told, Segment):
            spill.keep(told)
        elif isinstance(told, StreamAbort):
            spill.abort(told)
        elif isinstance(told, StreamCommit):
            unsure = spill.is_unsure(told.xid)
            spilled = spill.commit(told)
            assert spilled.commit == Commit(1, 2, 3)
    messages: list[int] = []
    contexts: dict[int, int] = {}
    last = 0
    for piece in spilled.pieces(1 << 20):
        for at, kind in zip(piece.at.tolist(), piece.kinds.tobytes(), strict=True):
            raw = bytes(piece.buffer.raw[at : at + 40])
            if kind == ord("I") and int.from_bytes(raw[1:5], "big") not in spilled.aborted:
                contexts[int.from_bytes(raw[5:9], "big")] = last
            elif kind == ord("M") and raw[14:].startswith(b"bv.audit\0"):
                last = int.from_bytes(raw[27:31], "big")
            elif kind == ord("M"):
                messages.append(int.from_bytes(raw[25:29], "big"))
    spill.close()
    return unsure, messages, contexts


@given(st.lists(st.sampled_from(STEPS), max_size=40))
@example(["context", "row", "flush", "savepoint", "context", "row", "flush", "rollback", "row"])
@example(["savepoint", "message", "flush", "rollback"])
@example(["savepoint", "message", "context", "flush", "rollback", "context", "row"])
def test_what_is_taken_as_sure_is_true(steps: list[str]) -> None:
    server = Server()
    for step in steps:
        server.step(step)
    server.commit()
    with TemporaryDirectory() as folder:
        unsure, messages, contexts = taken(server, Path(folder) / "spill")
    event(f"unsure: {unsure}")
    assert unsure or (messages, contexts) == server.truth


def test_a_context_before_the_first_row_is_sure_whatever_is_rolled_back_later(tmp_path: Path) -> None:
    server = Server()
    for step in ["context", "row", "flush", *["savepoint", "row", "flush", "rollback"] * 3, "row"]:
        server.step(step)
    server.commit()
    unsure, _, contexts = taken(server, tmp_path)
    assert not unsure
    assert contexts == server.truth[1]


def test_a_context_that_another_follows_before_any_row_needs_no_certainty(tmp_path: Path) -> None:
    server = Server()
    for step in ["context", "row", "savepoint", "context", "row", "flush", "rollback", "context", "row"]:
        server.step(step)
    server.commit()
    assert taken(server, tmp_path)[0] is False
