"""The registry as users run it: uvicorn on a loopback port, in a thread of this process."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_server
from typing import Any

import uvicorn

from bitvelocity.streams.registry import RegistryApp, SqliteStore


@dataclass(frozen=True)
class Served:
    """A running registry, and plain HTTP to it: what goes over the wire, not what a client makes of it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, text = self.raw(method, path, body)
        return status, json.loads(text)

    def raw(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json", **self.headers}
        request = urllib.request.Request(f"{self.url}/{path}", data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def given(self, method: str, path: str, body: Any = None) -> Any:
        """The answer of a request that must be granted."""
        status, value = self.ask(method, path, body)
        assert status == 200, value
        return value

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, int]:
        """Status and code of a refusal, whose body must have nothing else in it than its sentence."""
        status, value = self.ask(method, path, body)
        assert value.keys() == {"error_code", "message"}, value
        return status, value["error_code"]


@contextmanager
def running(
    file: Path, *, tokens: Mapping[str, bool] | None = None, read_only: bool = False, certificates: Path | None = None
) -> Iterator[Served]:
    store = SqliteStore(file)
    tls: dict[str, Any] = {}
    if certificates:
        tls = {"ssl_certfile": certificates / "server.pem", "ssl_keyfile": certificates / "server.key"}
    server = uvicorn.Server(
        uvicorn.Config(
            RegistryApp(store, tokens=tokens, read_only=read_only), log_level="error", lifespan="off", http="h11", ws="none",
            **tls,
        )
    )
    with create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            yield Served(f"{'https' if tls else 'http'}://127.0.0.1:{bound.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(30)
            store.close()
