"""An external registry as companies have it: over https, with a token or a user, by the settings of a project."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.conformance.certificates import make_certificates
from tests.conformance.registry_server import Served, running

from bitvelocity.errors import RegistryError
from bitvelocity.flow.schemas import open_registry
from bitvelocity.settings import load_settings
from bitvelocity.streams.registry import HttpCaller

WRITES, READS = "a-token-that-writes", "a-token-that-reads"
SCHEMA = {"schema": '{"type": "string"}'}
REGISTER = "subjects/orders-value/versions"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    make_certificates(made)
    return made


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with running(folder / "registry.db", tokens={WRITES: True, READS: False}, certificates=folder) as one:
        yield one


def register(folder: Path, url: str, token: str, more: str = "", ca: str = "ca.pem") -> object:
    (folder / "bitvelocity.toml").write_text(f'[registry]\nurl = "{url}"\nca = "{ca}"\n{more}')
    environment = {"BITVELOCITY_REGISTRY_TOKEN": token}
    with open_registry(load_settings(folder, environment), environment=environment) as caller:
        return caller.ask("POST", REGISTER, SCHEMA)["id"]


@pytest.mark.parametrize("more", ["", 'user = "api-key"'], ids=["bearer", "basic"])
def test_schemas_are_registered_over_https(folder: Path, served: Served, more: str) -> None:
    assert register(folder, served.url, WRITES, more) == 1


@pytest.mark.parametrize(
    ("token", "ca", "host", "said"),
    [
        ("not-a-token", "ca.pem", "127.0.0.1", "BITVELOCITY_REGISTRY_TOKEN"),
        (READS, "ca.pem", "127.0.0.1", "may read, and not write"),
        (WRITES, "other.pem", "127.0.0.1", "[registry] ca"),
        (WRITES, "ca.pem", "localhost", "a name that the certificate has"),
        (WRITES, "ca.pem", "me:secret@127.0.0.1", "[registry] user"),
    ],
    ids=["token", "rights", "authority", "host", "address"],
)
def test_what_keeps_us_out_is_told(folder: Path, served: Served, token: str, ca: str, host: str, said: str) -> None:
    with pytest.raises(RegistryError) as caught:
        register(folder, served.url.replace("127.0.0.1", host), token, ca=ca)
    assert said in str(caught.value)
    assert caught.value.retry == "person"
    assert token not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_token_does_not_follow_to_another_address() -> None:
    seen: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(200 if self.path == "/there" else 302)
            self.send_header("Location", "/there")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert HttpCaller(f"http://127.0.0.1:{server.server_port}", WRITES).ask("GET", "subjects") == []
        server.shutdown()
    assert seen == [f"Bearer {WRITES}", None]
