"""Who names the schemas of a project's records."""

from __future__ import annotations

from ..settings import Settings
from ..streams.registry import Caller
from ..streams.wire import Naming, Registrar


def registrar(settings: Settings, caller: Caller, naming: Naming = "topic") -> Registrar:
    """As the settings allow it: `[registry] register`."""
    return Registrar(caller, naming=naming, register=settings.registry.register, url=settings.registry.url)


__all__ = ["registrar"]
