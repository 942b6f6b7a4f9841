"""The shop: its project's files, and the replay of a year of real retail that fills it."""

from .fates import Rates
from .ledger import Day, Expected
from .replay import Progress, Replay

__all__ = ["Day", "Expected", "Progress", "Rates", "Replay"]
