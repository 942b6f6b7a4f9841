"""pgoutput messages (protocol 2) to Arrow batches, column by column. Pure: bytes in, batches out."""

from .context import PREFIX
from .decode import NOTHING, Decoded, decode
from .extras import Wants
from .piece import EPOCH, IS_ROW, Piece
from .relation import Relation
from .tables import Relations
from .transactions import Carry, end_streamed

__all__ = [
    "EPOCH",
    "IS_ROW",
    "NOTHING",
    "PREFIX",
    "Carry",
    "Decoded",
    "Piece",
    "Relation",
    "Relations",
    "Wants",
    "decode",
    "end_streamed",
]
