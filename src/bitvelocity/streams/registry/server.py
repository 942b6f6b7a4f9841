"""The registry as a server on one port, until it is told to stop."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ...errors import MissingExtraError, SettingsError
from .app import RegistryApp
from .forms import EXTRA
from .store import Store


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
    if not at.tokens and not _is_loopback(at.host):
        raise SettingsError(
            f"The registry would listen on {at.host}, open to everybody there.",
            remedy="Set BITVELOCITY_REGISTRY_TOKEN, or listen on 127.0.0.1.",
        )
    uvicorn = _uvicorn()
    bound = _bind(at)
    app = RegistryApp(store, tokens=at.tokens, read_only=at.read_only)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", http="h11", ws="none")
    with bound:
        host, port = bound.getsockname()[:2]
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        uvicorn.Server(config).run(sockets=[bound])


def _bind(at: Listening) -> socket.socket:
    try:
        return socket.create_server((at.host, at.port), family=socket.AF_INET6 if ":" in at.host else socket.AF_INET)
    except OSError as error:
        raise SettingsError(
            f"The registry cannot listen on {at.host}, port {at.port}: {error.strerror or error}.",
            remedy="Name another with --port; 0 takes a free one.",
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
