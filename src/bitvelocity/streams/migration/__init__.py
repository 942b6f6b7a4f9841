"""Topics from one transport to another: each record once, with its key, its time, its place, and the offset that it had."""

from .comparing import compared
from .copying import Copying, Rewrite
from .groups import carry_over
from .marks import OFFSET_HEADER
from .offsets import Offsets
from .reading import filled

__all__ = ["OFFSET_HEADER", "Copying", "Offsets", "Rewrite", "carry_over", "compared", "filled"]
