"""The programs of a page, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def shown(page: str, heading: str, kind: str) -> str:
    """The first block of that kind below a heading."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    found = re.search(rf"^```{kind}\n(.*?)^```$", text, re.M | re.S)
    assert found, f"{page}: there is no {kind} below {heading!r}"
    return found[1]


def with_values(program: str, **values: str) -> str:
    """The program with other values of its constants."""
    for name, value in values.items():
        program, count = re.subn(rf'^{name} = ".*"$', f"{name} = {value!r}", program, flags=re.M)
        assert count == 1, name
    return program
