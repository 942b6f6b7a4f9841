"""A project's schema registry: which one it is, and how to ask it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, SettingsError
from ..settings import RegistrySettings, Settings
from ..streams.registry import (
    Caller,
    HttpCaller,
    Listening,
    PostgresStore,
    SqliteStore,
    Store,
    StoreCaller,
    judged,
    serve,
    serving,
)
from ..streams.registry.server import PORT_TAKEN
from ..streams.tls import trusted

TOKEN, READ_TOKEN = "BITVELOCITY_REGISTRY_TOKEN", "BITVELOCITY_REGISTRY_READ_TOKEN"


@contextmanager
def open_registry(
    settings: Settings | None, url: str = "", environment: Mapping[str, str] = os.environ
) -> Iterator[Caller]:
    """The registry to ask: the one at `url`, that of the settings, or the project's own store, which needs no server."""
    address = url or (settings.registry.url if settings else "")
    if address or settings is None:
        own = settings.registry if settings else RegistrySettings()
        root = settings.root if settings else Path()
        token = environment.get(TOKEN, "") or environment.get(READ_TOKEN, "")
        yield HttpCaller(address, token, user=own.user, tls=trusted(root, own))
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
    at = Listening(
        host=host,
        port=settings.registry.port if port is None else port,
        tokens=_tokens(environment),
        read_only=read_only,
    )
    store = _store(settings)
    try:
        serve(store, at, ready)
    finally:
        store.close()


def reasons_against(caller: Caller, subject: str, body: Mapping[str, Any], *, normalize: bool = False) -> list[dict[str, Any]]:
    """All that stands against a schema under this subject; another registry than ours is told more than it asks."""
    messages, unasked = judged(caller, subject, body, normalize=normalize)
    more = [{"version": version, "kind": one.kind, "path": one.path or "/", "what": one.what} for version, one in unasked]
    return [*_reasons_of(messages), *more]


def _reasons_of(messages: list[str]) -> list[dict[str, Any]]:
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


@contextmanager
def registry_beside(
    settings: Settings, tell: Callable[[str], None], environment: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """The project's registry at an address of this machine, for those who read its topics; "" when nobody needs it."""
    if settings.registry.url or not _writes_schemas(settings):
        yield ""
        return
    at, store = Listening(port=settings.registry.port, tokens=_tokens(environment)), _store(settings)
    with closing(store), ExitStack() as stack:
        try:
            address = stack.enter_context(serving(store, at))
        except SettingsError as error:
            if error.code != PORT_TAKEN:
                raise
            address = stack.enter_context(serving(store, replace(at, port=0)))
            tell(f"Port {at.port} is taken: the schema registry listens at {address} instead ([registry] port).")
        except MissingExtraError as error:
            if not _only_json(settings):
                raise
            tell(f"Nobody serves the schemas of the topics: {error.what} {error.remedy}")
            address = ""
        yield address


def _writes_schemas(settings: Settings) -> bool:
    """Records that name their schemas are written."""
    return settings.streams.route == "bus" or any(route.wire != "json" for route in settings.routes)


def _only_json(settings: Settings) -> bool:
    """Such records are read without their schemas too."""
    return settings.streams.wire == "json" and all(route.wire == "json" for route in settings.routes)


def _tokens(environment: Mapping[str, str]) -> dict[str, bool]:
    return {environment[name]: name == TOKEN for name in (READ_TOKEN, TOKEN) if environment.get(name)}


def _store(settings: Settings) -> Store:
    if settings.registry.store:
        return PostgresStore(settings.registry.store)
    return SqliteStore(settings.state_folder / "registry.db")
