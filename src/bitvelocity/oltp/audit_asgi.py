"""The audit context of a web request: one middleware for any ASGI application.

Everything that is written while a request is served carries its user and its correlation id: through every engine
given to `install_audit`, and every connection of the classes in `audit_psycopg`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from .audit import audit

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

CORRELATION = (b"x-correlation-id", b"x-request-id")
"""Request headers that name the course of things, the first one that is there."""
_FIT = re.compile(r"[!-~]{1,128}").fullmatch
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?").fullmatch


def audit_asgi(
    app: Application,
    *,
    user: Callable[[Scope], str | None] | None = None,
    user_header: str | None = None,
    anonymous: str | None = None,
    source: str | None = None,
) -> Application:
    """Wrap an ASGI application, so that each request is an `audit` block.

        app = audit_asgi(app, source="shop")                      # Starlette: app.add_middleware(audit_asgi, source="shop")

    Who: `user(scope)` when it is given; else the header `user_header` (only behind a proxy that sets it itself, since
    anybody can send one); else what an authentication put into `scope["user"]`; else `anonymous`. When none of these
    says somebody, there is no context: a table with `audit_context="strict"` refuses the write.

    In the course of what: the request's X-Correlation-ID or X-Request-ID when it is 1 to 128 printable ASCII
    characters, else a new UUID. It is in `scope["correlation_id"]`, and in the response's X-Correlation-ID. A W3C
    `traceparent` travels along in the message.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        headers = list(scope.get("headers", ()))
        correlation = _first(headers, *CORRELATION, fits=_FIT) or str(uuid.uuid4())
        scope["correlation_id"] = correlation
        answer = _answering(send, correlation)
        who = _who(scope, headers, user=user, header=user_header) or anonymous
        if not who:
            await app(scope, receive, answer)
            return
        trace = _first(headers, b"traceparent", fits=_TRACE)
        with audit(user=who, correlation_id=correlation, source=source, traceparent=trace):
            await app(scope, receive, answer)

    return wrapped


def _who(
    scope: Scope, headers: Headers, *, user: Callable[[Scope], str | None] | None, header: str | None
) -> str | None:
    if user is not None:
        return user(scope)
    if header is not None:
        return _first(headers, header.lower().encode("latin-1"))
    return _name(scope.get("user"))


def _name(user: Any) -> str | None:
    """What frameworks put into the scope: a text, a dictionary, or an object that knows whether it is somebody."""
    if user is None or isinstance(user, str):
        return user or None
    if isinstance(user, dict):
        return next((str(user[key]) for key in ("username", "sub", "email", "id") if user.get(key)), None)
    if getattr(user, "is_authenticated", True) is False:
        return None
    for name in ("username", "identity", "display_name"):
        try:
            if said := getattr(user, name, None):
                return str(said)
        except NotImplementedError:  # Starlette's BaseUser leaves some to its children
            continue
    return None


def _first(headers: Headers, *names: bytes, fits: Callable[[str], object] | None = None) -> str | None:
    """The first of these headers that is there, and fit to be passed on."""
    found = dict(reversed([(name.lower(), value) for name, value in headers]))
    for name in names:
        said = found.get(name, b"").decode("utf-8", "replace").strip()
        if said and (fits is None or fits(said)):
            return said
    return None


def _answering(send: Send, correlation: str) -> Send:
    """`send` that tells the correlation id where an answer begins, unless the application does."""

    async def answer(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            headers = list(message.get("headers") or ())
            if not any(name.lower() == CORRELATION[0] for name, _ in headers):
                message = {**message, "headers": [*headers, (CORRELATION[0], correlation.encode("latin-1"))]}
        await send(message)

    return answer
