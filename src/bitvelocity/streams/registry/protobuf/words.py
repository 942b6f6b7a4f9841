"""The words of a .proto file: comments and space left out, literals told apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ..refusals import invalid_schema

_WORD = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<name>\.?[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*)|(?P<number>0[xX][0-9a-fA-F]+|\d*\.?\d+(?:[eE][+-]?\d+)?\.?f?)"""
    r"""|(?P<sign>[{}\[\]()<>;=,:+/-])""",
    re.S,
)
_ESCAPES = {"n": 10, "r": 13, "t": 9, "a": 7, "b": 8, "f": 12, "v": 11}


@dataclass(frozen=True, slots=True)
class Word:
    kind: str
    text: str
    line: int


def _words(text: str) -> Iterator[Word]:
    at, line = 0, 1
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            raise invalid_schema(f"line {line}: {text[at]!r} has no place in a .proto file")
        if found.lastgroup != "space":
            yield Word(str(found.lastgroup), found.group(), line)
        line += found.group().count("\n")
        at = found.end()
    yield Word("end", "the end", line)


class Words:
    """Words, read one after the other."""

    def __init__(self, text: str) -> None:
        self._all = list(_words(text))
        self._at = 0

    @property
    def next(self) -> Word:
        return self._all[self._at]

    def take(self) -> str:
        word = self.next
        self._at += word.kind != "end"
        return word.text

    def takes(self, text: str) -> bool:
        """Take the next word if it is this one."""
        if self.next.text != text or self.next.kind == "text":
            return False
        self.take()
        return True

    def expect(self, text: str) -> None:
        if not self.takes(text):
            self.fail(f"expected {text!r}")

    def name(self) -> str:
        if self.next.kind != "name":
            self.fail("expected a name")
        return self.take()

    def integer(self) -> int:
        minus = self.takes("-")
        try:
            value = int(self.next.text, 0 if self.next.text.lower().startswith("0x") else 8 if _is_octal(self.next.text) else 10)
        except ValueError:
            self.fail("expected a whole number")
        self.take()
        return -value if minus else value

    def text(self) -> str:
        """A text; several that stand side by side are one."""
        if self.next.kind != "text":
            self.fail("expected a text in quotes")
        parts = []
        while self.next.kind == "text":
            parts.append(_unquoted(self.take()))
        return b"".join(parts).decode("utf-8", "surrogateescape")

    def fail(self, why: str) -> NoReturn:
        raise invalid_schema(f"line {self.next.line}: {why}, and found {self.next.text[:40]!r}")


def _is_octal(text: str) -> bool:
    return len(text) > 1 and text.startswith("0") and text.isdecimal()


def _unquoted(literal: str) -> bytes:
    def one(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "xX":
            value = int(code[1:], 16)
        elif code[0] in "01234567":
            value = int(code, 8) & 255
        else:
            value = _ESCAPES.get(code, ord(code[0]))
        return bytes([value]).decode("latin-1") if value < 128 else f"\udc00{value:02x}"

    plain = re.sub(r"\\([xX][0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", one, literal[1:-1], flags=re.S)
    parts = re.split("\udc00(..)", plain)
    return b"".join(part.encode() if n % 2 == 0 else bytes.fromhex(part) for n, part in enumerate(parts))
