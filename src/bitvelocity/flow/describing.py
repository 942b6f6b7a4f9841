"""What the source's catalog said last, kept for those who come when the source is away."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import asdict

from ..capture.catalog import describe_source
from ..changes.formats import ColumnFacts, Described, TableFacts, TypeFacts
from ..files import replace_file
from ..settings import Settings

_FILE = "described.json"
_WRITING = threading.Lock()
"""Each route opens its transport in a thread of its own."""


def describe(settings: Settings, dsn: str) -> Described:
    """Ask the source, and keep the answer."""
    found = describe_source(dsn)
    settings.state_folder.mkdir(parents=True, exist_ok=True)
    with _WRITING:
        replace_file(settings.state_folder / _FILE, json.dumps(asdict(found)), sync=False)
    return found


def last_described(settings: Settings) -> Described | None:
    """The last answer; None when there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((settings.state_folder / _FILE).read_bytes())
        tables = {
            name: TableFacts(
                table["relation"],
                {column: ColumnFacts(**facts) for column, facts in table["columns"].items()},
                tuple(table["key"]),
            )
            for name, table in told["tables"].items()
        }
        types = {int(oid): TypeFacts(**facts | {"labels": tuple(facts["labels"])}) for oid, facts in told["types"].items()}
        return Described(told["database"], tables, types)
    return None


__all__ = ["describe", "last_described"]
