"""pgoutput messages (protocol 2) to Arrow batches, column by column. Pure: bytes in, batches out."""

from .decode import EPOCH, NOTHING, Carry, Decoded, Piece, Relations, decode, end_streamed
from .extras import Wants
from .relation import Relation

__all__ = [
    "EPOCH",
    "NOTHING",
    "Carry",
    "Decoded",
    "Piece",
    "Relation",
    "Relations",
    "Wants",
    "decode",
    "end_streamed",
]
