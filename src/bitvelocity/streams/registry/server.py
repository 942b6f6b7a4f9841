"""The registry as a server on one port, until it is told to stop."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ...errors import MissingExtraError, SettingsError
from .app import RegistryApp
from .forms import EXTRA
from .store import Store

PORT_TAKEN = "PortTaken"
"""Code of the error of a port that cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the registry listens and whom it lets in. Beyond this machine only with a token."""

    host: str = "127.0.0.1"
    port: int = 8081
    tokens: Mapping[str, bool] = field(default_factory=dict, repr=False)
    """Each token, and whether it may write."""
    read_only: bool = False


def serve(store: Store, at: Listening, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the address once it is bound."""
    with _server(store, at) as (run, _, address):
        ready(address)
        run()


@contextmanager
def serving(store: Store, at: Listening) -> Iterator[str]:
    """Serve in a thread, at the address that this gives, until the block ends."""
    with _server(store, at) as (run, stop, address):
        thread = threading.Thread(target=run, name="registry", daemon=True)
        thread.start()
        try:
            yield address
        finally:
            stop()
            thread.join()


@contextmanager
def _server(store: Store, at: Listening) -> Iterator[tuple[Callable[[], object], Callable[[], object], str]]:
    """How to run it and to stop it, and its address, which is bound."""
    if not at.tokens and not _is_loopback(at.host):
        raise SettingsError(
            f"The registry would listen on {at.host}, open to everybody there.",
            remedy="Set BITVELOCITY_REGISTRY_TOKEN, or listen on 127.0.0.1.",
        )
    uvicorn = _uvicorn()
    bound = _bind(at)
    app = RegistryApp(store, tokens=at.tokens, read_only=at.read_only)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", http="h11", ws="none")
    server = uvicorn.Server(config)
    with bound:
        host, port = bound.getsockname()[:2]
        yield (
            lambda: server.run(sockets=[bound]),
            lambda: setattr(server, "should_exit", True),
            f"http://{f'[{host}]' if ':' in host else host}:{port}",
        )


def _bind(at: Listening) -> socket.socket:
    try:
        return socket.create_server((at.host, at.port), family=socket.AF_INET6 if ":" in at.host else socket.AF_INET)
    except OSError as error:
        raise SettingsError(
            f"The registry cannot listen on {at.host}, port {at.port}: {error.strerror or error}.",
            remedy="Name another with --port; 0 takes a free one.",
            code=PORT_TAKEN,
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _uvicorn() -> Any:
    try:
        return import_module("uvicorn")
    except ModuleNotFoundError as error:
        raise MissingExtraError("Serving the registry needs the library uvicorn.", remedy=EXTRA) from error
