"""A project's schema registry: which one it is, and how to ask it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..settings import Settings
from ..streams.registry import (
    Caller,
    HttpCaller,
    Listening,
    PostgresStore,
    SqliteStore,
    Store,
    StoreCaller,
    serve,
)

TOKEN, READ_TOKEN = "BITVELOCITY_REGISTRY_TOKEN", "BITVELOCITY_REGISTRY_READ_TOKEN"


@contextmanager
def open_registry(
    settings: Settings | None, url: str = "", environment: Mapping[str, str] = os.environ
) -> Iterator[Caller]:
    """The registry to ask: the one at `url`, that of the settings, or the project's own store, which needs no server."""
    address = url or (settings.registry.url if settings else "")
    if address or settings is None:
        yield HttpCaller(address, environment.get(TOKEN, "") or environment.get(READ_TOKEN, ""))
        return
    store = _store(settings)
    try:
        yield StoreCaller(store)
    finally:
        store.close()


def serve_registry(
    settings: Settings,
    ready: Callable[[str], None],
    *,
    host: str,
    port: int | None,
    read_only: bool,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Serve the project's registry until it is told to stop."""
    tokens = {environment[name]: name == TOKEN for name in (READ_TOKEN, TOKEN) if environment.get(name)}
    at = Listening(
        host=host, port=settings.registry.port if port is None else port, tokens=tokens, read_only=read_only
    )
    store = _store(settings)
    try:
        serve(store, at, ready)
    finally:
        store.close()


def reasons_of(messages: list[str]) -> list[dict[str, Any]]:
    """Reasons with the version that they are about, which the messages tell after them; other registries' texts as they are."""
    found: list[dict[str, Any]] = []
    for message in messages:
        try:
            told = json.loads(message)
        except ValueError:
            told = {"errorType": "INCOMPATIBLE", "description": message}
        if "errorType" in told:
            path = told.get("additionalInfo", "/")
            found.append({"version": None, "kind": told["errorType"], "path": path, "what": told.get("description", "")})
        elif "oldSchemaVersion" in told:
            for one in found:
                one["version"] = one["version"] or told["oldSchemaVersion"]
    return found


def _store(settings: Settings) -> Store:
    if settings.registry.store:
        return PostgresStore(settings.registry.store)
    return SqliteStore(settings.state_folder / "registry.db")
