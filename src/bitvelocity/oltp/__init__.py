"""The source database: the embedded server, its tables and their evolution, audit context, adoption, checks."""

from .binaries import Binaries, find_binaries, installed
from .connect import connect, describe
from .embedded import EmbeddedPostgres, attach
from .process import Server

__all__ = ["Binaries", "EmbeddedPostgres", "Server", "attach", "connect", "describe", "find_binaries", "installed"]
