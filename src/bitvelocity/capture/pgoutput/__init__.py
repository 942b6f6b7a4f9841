"""pgoutput messages (protocol 2) to Arrow batches, column by column. Pure: bytes in, batches out."""

from .decode import EPOCH, Carry, Decoded, Piece, Relations, decode
from .relation import Relation

__all__ = ["EPOCH", "Carry", "Decoded", "Piece", "Relation", "Relations", "decode"]
