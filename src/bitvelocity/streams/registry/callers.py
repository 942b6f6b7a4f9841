"""Asking a registry: one that is reached by HTTP, ours or another's, or a store that this process opens itself."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from typing import Any, Protocol
from urllib.parse import urlsplit

from ...errors import RegistryError
from ..tls import tls_trouble
from .api import Request, respond
from .store import Store

_TOKEN = "Set BITVELOCITY_REGISTRY_TOKEN to a token that may do this; with [registry] user it is his password."  # noqa: S105 - a sentence
_KIND = {"Content-Type": "application/vnd.schemaregistry.v1+json"}


class Caller(Protocol):
    """Asks a registry, and gives the value of its answer; a refusal is raised with the registry's own number."""

    def ask(self, method: str, path: str, body: Any = None) -> Any: ...


class HttpCaller:
    """A registry at an address. The token is sent as Bearer, or as the password of `user`, and to nobody else."""

    def __init__(self, url: str, token: str = "", *, user: str = "", tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise RegistryError(
                "The address of the registry has a user in it.", safe="Nothing was sent.",
                remedy="Write it without: [registry] user names him, and BITVELOCITY_REGISTRY_TOKEN is his password.",
            )  # fmt: skip
        if parts.scheme not in ("http", "https") or (tls and parts.scheme == "http"):
            known = "Give one such as http://127.0.0.1:8081"
            raise RegistryError(f"{url!r} is no address of a registry.", remedy="With certificates it is https." if tls else known)
        self._url, self._tls = url.rstrip("/"), tls
        self._login = f"Bearer {token}" if token else ""
        if user:
            self._login = f"Basic {base64.b64encode(f'{user}:{token}'.encode()).decode()}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/{path}", data=data, method=method, headers=_KIND)  # noqa: S310 - checked above
        if self._login:
            request.add_unredirected_header("Authorization", self._login)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._tls) as answer:  # noqa: S310
                said = answer.read()
                return json.loads(said) if said else None  # Apicurio has nothing to say of a subject's mode: 204
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error.code, error.read(), f"The registry at {self._url} refuses it: ") from None
        except (OSError, ValueError) as error:
            if trouble := tls_trouble(error, f"the registry at {self._url}", "[registry]"):
                raise RegistryError(trouble[0], safe="No token was sent.", remedy=trouble[1], code="TlsRefused") from error
            raise RegistryError(
                f"The registry at {self._url} cannot be asked: {getattr(error, 'reason', error)}.", remedy="Start it, or correct the address."
            ) from error


class StoreCaller:
    """A store in this process: nothing needs to run."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        plain, _, query = path.partition("?")
        words = [part.partition("=") for part in query.split("&") if part]
        data = b"" if body is None else json.dumps(body).encode()
        answer = respond(self._store, Request(method, plain, {name: [value] for name, _, value in words}, data))
        if answer.status != 200:
            raise _refused(answer.status, answer.encoded())
        return answer.value


def _refused(status: int, body: bytes, shut: str = "") -> RegistryError:
    """`shut` stands before the answer to somebody without the right."""
    try:
        told = json.loads(body)
        code, what = str(told["error_code"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        code, what = str(status), f"The registry answers {status}, and says no more."
    remedies = {409: "Read the reasons one by one: bitvelocity schema check", 401: _TOKEN, 403: _TOKEN}
    remedy = remedies.get(status)
    return RegistryError(f"{shut if remedy is _TOKEN else ''}{what}", code=code, remedy=remedy)
