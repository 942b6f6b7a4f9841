"""The command line: `bitvelocity`, or `bv`."""

from .app import main

__all__ = ["main"]
