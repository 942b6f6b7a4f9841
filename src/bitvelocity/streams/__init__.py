"""Topics and what is in them: the seam over the transports, and the registry of their schemas."""

from .bus import (
    FETCHED_SCHEMA,
    PLACE_HEADER,
    PLACED_SCHEMA,
    RECORD_SCHEMA,
    Abilities,
    Bus,
    Fetched,
    Member,
    Partition,
    Place,
    Published,
    Publisher,
    Span,
    Start,
    Topic,
)
from .engines import abilities_of
from .lag import Lag, lags
from .placing import above, check_order, parse_place, partition_of, place_text, places_of, with_places

__all__ = [
    "FETCHED_SCHEMA",
    "PLACED_SCHEMA",
    "PLACE_HEADER",
    "RECORD_SCHEMA",
    "Abilities",
    "Bus",
    "Fetched",
    "Lag",
    "Member",
    "Partition",
    "Place",
    "Published",
    "Publisher",
    "Span",
    "Start",
    "Topic",
    "abilities_of",
    "above",
    "check_order",
    "lags",
    "parse_place",
    "partition_of",
    "place_text",
    "places_of",
    "with_places",
]  # fmt: skip
