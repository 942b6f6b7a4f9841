"""Change sets as records for others: Debezium's envelope, its unwrapped rows, and BitVelocity's own event."""

from .bare import UNDECLARED, Bare
from .debezium import Moment
from .decoder import NO_CHANGE, Decoded, Decoder, Lookup, Refused, SchemaText
from .described import ColumnFacts, Described, TableFacts, TypeFacts
from .doubts import CONTRADICTED, UNCLEAR
from .effect import options_for
from .encoder import FORMATS, Encoder, Format, encode
from .naming import topic_of
from .options import CHOICES, NAMES, Options
from .records import RECORD_SCHEMA, in_order
from .topics import heartbeat

__all__ = [
    "CHOICES", "CONTRADICTED", "FORMATS", "NAMES", "NO_CHANGE", "RECORD_SCHEMA", "UNCLEAR", "UNDECLARED", "Bare", "ColumnFacts", "Decoded", "Decoder", "Described", "Encoder", "Format", "Lookup", "Moment",
    "Options", "Refused", "SchemaText", "TableFacts", "TypeFacts", "encode", "heartbeat", "in_order", "options_for", "topic_of",
]  # fmt: skip
