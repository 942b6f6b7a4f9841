"""What must be right in the source for change capture: each check a verdict, one sentence, and the remedy."""

from .looking import CHECKS, check, look
from .source import Limits, Source, Wanted
from .verdict import Check, bad, fine, warn

__all__ = ["CHECKS", "Check", "Limits", "Source", "Wanted", "bad", "check", "fine", "look", "warn"]
