"""The registry's answers: a request in, a status and a JSON value out. No socket, no framework."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from ...errors import BitVelocityError, RegistryError
from . import answers
from .asked import Asked
from .refusals import invalid_schema, not_permitted, status_of
from .store import Store

ROUTES: tuple[tuple[str, str, Callable[[Asked], Any]], ...] = (
    ("GET", "", answers.nothing),
    ("GET", "v1/metadata/id", answers.cluster),
    ("GET", "v1/metadata/version", answers.about),
    ("GET", "subjects", answers.list_subjects),
    ("POST", "subjects/{subject}", answers.look_up),
    ("DELETE", "subjects/{subject}", answers.delete_subject),
    ("GET", "subjects/{subject}/versions", answers.list_versions),
    ("POST", "subjects/{subject}/versions", answers.register),
    ("GET", "subjects/{subject}/metadata", answers.with_metadata),
    ("GET", "subjects/{subject}/versions/{version}", answers.show_version),
    ("DELETE", "subjects/{subject}/versions/{version}", answers.delete_version),
    ("GET", "subjects/{subject}/versions/{version}/schema", answers.show_text),
    ("GET", "subjects/{subject}/versions/{version}/referencedby", answers.referenced_by),
    ("GET", "schemas", answers.list_schemas),
    ("GET", "schemas/types", answers.types),
    ("GET", "schemas/ids/{id}", answers.schema_by_id),
    ("GET", "schemas/ids/{id}/schema", answers.text_by_id),
    ("GET", "schemas/ids/{id}/subjects", answers.subjects_by_id),
    ("GET", "schemas/ids/{id}/versions", answers.versions_by_id),
    ("GET", "schemas/guids/{guid}", answers.schema_by_guid),
    ("GET", "schemas/guids/{guid}/ids", answers.ids_by_guid),
    ("POST", "compatibility/subjects/{subject}/versions", answers.compatible),
    ("POST", "compatibility/subjects/{subject}/versions/{version}", answers.compatible),
    ("GET", "config", answers.show_config),
    ("PUT", "config", answers.set_config),
    ("DELETE", "config", answers.delete_config),
    ("GET", "config/{subject}", answers.show_config),
    ("PUT", "config/{subject}", answers.set_config),
    ("DELETE", "config/{subject}", answers.delete_config),
    ("GET", "mode", answers.show_mode),
    ("PUT", "mode", answers.set_mode),
    ("DELETE", "mode", answers.delete_mode),
    ("GET", "mode/{subject}", answers.show_mode),
    ("PUT", "mode/{subject}", answers.set_mode),
    ("DELETE", "mode/{subject}", answers.delete_mode),
    ("GET", "contexts", answers.list_contexts),
)

_log = logging.getLogger(__name__)

_WRITES = {
    answers.register, answers.delete_subject, answers.delete_version, answers.set_config, answers.delete_config,
    answers.set_mode, answers.delete_mode,
}  # fmt: skip
_PATTERNS = [
    (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), answer) for method, path, answer in ROUTES
]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; the path as it came, percent signs and all."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A status and a value to be printed as JSON; a text is printed as it is where `plain` says so."""

    status: int
    value: Any
    plain: bool = False

    def encoded(self) -> bytes:
        if self.plain:
            return str(self.value).encode()
        return json.dumps(self.value, separators=(",", ":"), ensure_ascii=False).encode()


def respond(store: Store, request: Request, *, read_only: bool = False) -> Response:
    """The answer to any request: an error is a number and a sentence, and nothing else."""
    context, path = _split_context(request.path.strip("/"))
    matches = [(method, found, answer) for method, pattern, answer in _PATTERNS if (found := pattern.fullmatch(path))]
    chosen = next(((found, answer) for method, found, answer in matches if method == request.method), None)
    if chosen is None:
        return _error(405, "HTTP 405 Method Not Allowed") if matches else _error(404, "HTTP 404 Not Found")
    found, answer = chosen
    if answer in _WRITES and read_only:
        return _refused(not_permitted("This registry is read-only"))
    names = {name: unquote(value) for name, value in found.groupdict().items()}
    try:
        asked = Asked(names, request.query, _body(request.body), context)
        with (store.writing if answer in _WRITES else store.reading)() as run:
            value = answer(asked.on(run))
    except Exception as error:
        return _failed(error, request)
    return Response(200, value, plain=answer in (answers.show_text, answers.text_by_id))


def _failed(error: Exception, request: Request) -> Response:
    """What was refused is told as it is; what nobody foresaw goes to the log, and the client hears that it did."""
    match error:
        case _MalformedError():
            return _error(400, str(error))
        case RegistryError():
            return _refused(error)
        case RecursionError():
            return _refused(invalid_schema("it is nested too deeply"))
        case BitVelocityError():
            return _error(50001, str(error))
        case _:
            _log.error("The registry failed at %s %s", request.method, request.path, exc_info=error)
            return _error(50001, "The registry failed; its log says how")


def _refused(error: RegistryError) -> Response:
    return Response(status_of(error), {"error_code": int(error.code), "message": error.what})


class _MalformedError(ValueError):
    """The body is no JSON."""


def _body(data: bytes) -> Any:
    if not data.strip():
        return {}
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _MalformedError("The body is no JSON") from error


def _split_context(path: str) -> tuple[str, str]:
    """`contexts/.staging/subjects` is `subjects` in a context."""
    first, _, rest = path.partition("/")
    if first == "contexts" and rest:
        context, _, rest = rest.partition("/")
        return unquote(context), rest
    return ".", path


def _error(code: int, message: str) -> Response:
    return Response(int(str(code)[:3]), {"error_code": code, "message": message})


def authorised(header: str, tokens: Mapping[str, bool]) -> bool | None:
    """Whether a request with this Authorization may write; None when it may nothing.

    A token comes as `Bearer`, or as the password of `Basic` for clients that know nothing else.
    """
    kind, _, value = header.partition(" ")
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return None
    elif kind.lower() != "bearer":
        return None
    given = value.strip().encode()
    found = [writes for token, writes in tokens.items() if hmac.compare_digest(given, token.encode())]
    return any(found) if found else None
