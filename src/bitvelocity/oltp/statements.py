"""The SQL of this folder: files of statements, each with a name and one sentence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

MARK = "-- name: "


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a file. `sentence` says what it is for, as a plan prints it."""

    name: str
    sentence: str
    sql: str

    @property
    def fingerprint(self) -> str:
        """Changes when the text does."""
        return hashlib.sha256(self.sql.encode()).hexdigest()[:16]


@cache
def load(file: str) -> dict[str, Statement]:
    """All statements of `sql/<file>.sql` by name, in the file's order."""
    text = files(__package__).joinpath("sql", f"{file}.sql").read_text()
    parts = [part.partition("\n") for part in ("\n" + text).split("\n" + MARK)[1:]]
    return {name.strip(): _statement(name.strip(), body) for name, _, body in parts}


def _statement(name: str, body: str) -> Statement:
    lines = body.splitlines()
    heads = next(n for n, line in enumerate(lines) if not line.startswith("--"))
    sentence = " ".join(line.removeprefix("--").strip() for line in lines[:heads])
    return Statement(name, sentence, "\n".join(lines[heads:]).strip().removesuffix(";"))
