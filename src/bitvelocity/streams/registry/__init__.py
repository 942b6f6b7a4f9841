"""A schema registry that speaks Confluent's API, kept in SQLite or PostgreSQL.

Names are loaded when they are first used: who only asks a registry needs neither a store nor a server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Request, Response, respond
    from .app import RegistryApp
    from .callers import Caller, HttpCaller, StoreCaller
    from .copies import export_registry, import_registry
    from .elsewhere import every_version, judged, newest_first, texts_of
    from .forms import Import, descriptor_of, renumbered
    from .postgres import PostgresStore
    from .server import Listening, serve, serving
    from .sqlite import SqliteStore
    from .store import Store

__all__ = [
    "Caller", "HttpCaller", "Import", "Listening", "PostgresStore", "RegistryApp", "Request", "Response", "SqliteStore",
    "Store", "StoreCaller", "descriptor_of", "every_version", "export_registry", "import_registry", "judged",
    "newest_first", "renumbered", "respond", "serve", "serving", "texts_of",
]  # fmt: skip

_HOMES = {
    "api": ("Request", "Response", "respond"),
    "app": ("RegistryApp",),
    "callers": ("Caller", "HttpCaller", "StoreCaller"),
    "copies": ("export_registry", "import_registry"),
    "elsewhere": ("every_version", "judged", "newest_first", "texts_of"),
    "forms": ("Import", "descriptor_of", "renumbered"),
    "postgres": ("PostgresStore",),
    "server": ("Listening", "serve", "serving"),
    "sqlite": ("SqliteStore",),
    "store": ("Store",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
