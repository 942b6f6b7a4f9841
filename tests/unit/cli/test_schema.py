"""`bitvelocity schema`, over the project's own store and over a running registry."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bitvelocity.errors import SettingsError
from bitvelocity.streams.registry import (
    HttpCaller,
    Listening,
    SqliteStore,
    StoreCaller,
    export_registry,
    import_registry,
    serve,
)

Bv = Callable[..., subprocess.CompletedProcess[str]]
ORDER = """{"type": "record", "name": "Order", "fields": [
  {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}]}"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "bitvelocity.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "order.avsc").write_text(ORDER)
    (tmp_path / "changed.avsc").write_text(ORDER.replace('"scale": 2', '"scale": 3'))
    return tmp_path


@pytest.fixture
def served(project: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`bitvelocity schema serve` on a free port, ended with the test."""
    words = ["schema", "serve", "--project", str(project), "--port", "0", "--json"]
    process = subprocess.Popen([sys.executable, "-m", "bitvelocity", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    yield process, json.loads(line)["url"]
    process.terminate()
    process.communicate(timeout=60)


def test_from_registration_to_a_refusal(project: Path, bitvelocity: Bv) -> None:
    done = bitvelocity("schema", "register", "order.avsc", "-s", "orders-value", "--json", cwd=project)
    assert json.loads(done.stdout) | {"guid": ""} == {"subject": "orders-value", "id": 1, "version": 1, "guid": ""}
    again = bitvelocity("schema", "register", "order.avsc", "-s", "orders-value", cwd=project)
    assert again.stdout == "orders-value: version 1, id 1\n"
    fine = bitvelocity("schema", "check", "order.avsc", "-s", "orders-value", cwd=project)
    assert (fine.returncode, fine.stdout) == (0, "orders-value: compatible\n")
    broken = bitvelocity("schema", "check", "changed.avsc", "-s", "orders-value", "--json", cwd=project)
    assert broken.returncode == 1
    (reason,) = json.loads(broken.stdout)["reasons"]
    assert (reason["version"], reason["kind"], reason["path"]) == (1, "LOGICAL_TYPE_MISMATCH", "/total")
    refused = bitvelocity("schema", "register", "changed.avsc", "-s", "orders-value", cwd=project)
    assert refused.returncode == 1
    assert "bitvelocity schema check" in refused.stderr
    listed = bitvelocity("schema", "list", cwd=project)
    assert listed.stdout == "orders-value  version 1  id 1  AVRO\n"


def test_what_was_acknowledged_outlives_a_kill(
    project: Path, served: tuple[subprocess.Popen[str], str], bitvelocity: Bv
) -> None:
    """Over HTTP with --registry; the server dies by SIGKILL right after its answer, and the store has the schema."""
    process, url = served
    done = bitvelocity("schema", "register", str(project / "order.avsc"), "-s", "orders-value", "--registry", url, cwd=project.parent)
    assert done.stdout == "orders-value: version 1, id 1\n", done.stderr
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert "orders-value  version 1  id 1" in bitvelocity("schema", "list", cwd=project).stdout
    gone = bitvelocity("schema", "list", "--registry", url, cwd=project)
    assert gone.returncode == 1
    assert "cannot be asked" in gone.stderr
    assert "urlopen" not in gone.stderr
    copied = bitvelocity("schema", "export", "-o", "copy.json", cwd=project)
    assert copied.stdout == "Exported 1 versions to copy.json.\n"


def test_a_stop_is_clean(served: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = served
    process.terminate()
    assert process.wait(60) in (0, -signal.SIGTERM)


def test_beyond_this_machine_only_with_a_token(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "r.db")
    with pytest.raises(SettingsError, match="open to everybody") as refused:
        serve(store, Listening(host="0.0.0.0", port=0), lambda url: None)
    assert "BITVELOCITY_REGISTRY_TOKEN" in str(refused.value.remedy)
    assert "secret" not in repr(Listening(tokens={"secret": True}))
    store.close()


def test_a_copy_has_every_number(tmp_path: Path) -> None:
    """Ids with gaps, references, contexts, soft deletions, levels and modes; twice over, and the copies are equal."""
    stores = [SqliteStore(tmp_path / f"{name}.db") for name in ("one", "two")]
    one, two = map(StoreCaller, stores)
    for subject, text in (("gone", '"int"'), ("f", '{"type":"fixed","name":"F","size":4}'), (":.test:s", '"long"')):
        one.ask("POST", f"subjects/{subject}/versions", {"schema": text})
    uses = {"schema": '{"type":"array","items":"F"}', "references": [{"name": "F", "subject": "f", "version": 1}]}
    one.ask("POST", "subjects/users/versions", uses)
    for text in ('"int"', '"long"', '"float"'):
        one.ask("POST", "subjects/v/versions", {"schema": text})
    one.ask("DELETE", "subjects/gone")
    one.ask("DELETE", "subjects/gone?permanent=true")
    one.ask("DELETE", "subjects/users")
    one.ask("DELETE", "subjects/v/versions/2")
    one.ask("PUT", "config/v", {"compatibility": "FULL"})
    one.ask("PUT", "config", {"compatibility": "FORWARD"})
    one.ask("PUT", "mode/f", {"mode": "READONLY"})
    document: Any = json.loads(json.dumps(export_registry(one)))
    assert import_registry(two, document) == len(document["schemas"]) == 6
    assert export_registry(two) == document
    import_registry(two, document)
    assert export_registry(two) == document
    for store in stores:
        store.close()


def test_an_address_is_an_address() -> None:
    with pytest.raises(Exception, match="no address"):
        HttpCaller("ftp://registry")
