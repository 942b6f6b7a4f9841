"""The registry as an ASGI application, written against the protocol itself: 40 addresses need no framework."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from .api import Request, Response, authorised, respond
from .store import Store

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONTENT_TYPE = b"application/vnd.schemaregistry.v1+json"
LARGEST_BODY = 8 * 1024 * 1024
_UNAUTHORISED = Response(401, {"error_code": 401, "message": "Unauthorized"})
_FORBIDDEN = Response(403, {"error_code": 40301, "message": "This token may read, and not write"})
_TOO_LARGE = Response(413, {"error_code": 413, "message": "HTTP 413 Request Entity Too Large"})


class RegistryApp:
    """Serves a store. `tokens` are the accepted tokens, each with whether it may write; none lets everybody in."""

    def __init__(self, store: Store, *, tokens: Mapping[str, bool] | None = None, read_only: bool = False) -> None:
        self._store = store
        self._tokens = tokens or {}
        self._read_only = read_only

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _answer(send, await self._respond(scope, receive))

    async def _respond(self, scope: Message, receive: Receive) -> Response:
        headers = {name.lower(): value for name, value in scope["headers"]}
        may_write = not self._tokens or authorised(headers.get(b"authorization", b"").decode("latin-1"), self._tokens)
        if may_write is None:
            return _UNAUTHORISED
        body = await _body(receive)
        if body is None:
            return _TOO_LARGE
        request = _request(scope, body)
        if not may_write and not is_reading(request):
            return _FORBIDDEN
        return await asyncio.to_thread(respond, self._store, request, read_only=self._read_only)


def is_reading(request: Request) -> bool:
    """Look-ups and questions of compatibility are posted, and change nothing."""
    question = re.fullmatch(r".*(?:/compatibility/.*|/subjects/[^/]+)", f"/{request.path.strip('/')}")
    return request.method in ("GET", "HEAD") or (request.method == "POST" and bool(question))


def _request(scope: Message, body: bytes) -> Request:
    """The path as it was sent: an escaped slash is part of a name."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.split(b"?")[0].decode("latin-1").removeprefix(scope.get("root_path", ""))
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return Request(method, path, query, body)


async def _body(receive: Receive) -> bytes | None:
    parts, size = [], 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: Send, response: Response) -> None:
    body = response.encoded()
    headers = [(b"content-type", CONTENT_TYPE), (b"content-length", str(len(body)).encode())]
    if response.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="bitvelocity registry"'))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
