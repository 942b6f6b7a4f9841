"""What an ALTER wrote into rows that the stream does not send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Rows of an entity that were not written since `lsn` may have other values in the source than the lake knows of.

    - `columns`: the columns in question, with the OID and modifier of their types.
    - `whole`: any column may differ; else only these, and only where they are not NULL.
    - `sure`: the source said so; else its catalog must be asked whether the columns were filled.
    - `why`: in words, after the entity's name.
    """

    entity: str
    lsn: int
    why: str
    columns: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    whole: bool = False
    sure: bool = False
    noted_at: float = 0.0
    """By our own clock."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def unsent_from(data: Mapping[str, Any]) -> Unsent:
    """The inverse of `Unsent.as_dict`."""
    columns = {name: (int(kind), int(modifier)) for name, (kind, modifier) in data["columns"].items()}
    return Unsent(**{**data, "columns": columns})
