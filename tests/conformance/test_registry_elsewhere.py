"""Registries that are not ours: what they do not answer, and what they do not judge, stands in nobody's way.

`less` is ours behind a caller that leaves out what Apicurio 3.0.9 was seen to leave out. The real one is asked too where
REGISTRY_URL names it, such as http://127.0.0.1:8080/apis/ccompat/v7 (docs/how-to/schema-registry.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bitvelocity.changes.formats import Decoder, Encoder, Options, in_order
from bitvelocity.errors import RegistryError
from bitvelocity.flow.schemas import reasons_against
from bitvelocity.streams.registry import (
    Caller,
    HttpCaller,
    SqliteStore,
    StoreCaller,
    every_version,
    export_registry,
    import_registry,
)
from bitvelocity.streams.wire import Registrar, notation

from .registry_server import running
from .test_wire_registry import ORDERS, ROW, batch

PRICE = """{"type": "record", "name": "Order", "fields": [
  {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}]}"""


class Less:
    """Has no list of all schemas, no modes, no contexts, no descriptors; takes all, and gives no reasons."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        plain, _, query = path.partition("?")
        if plain in ("schemas", "mode", "v1/metadata/id"):
            raise RegistryError("The registry answers 404, and says no more.", code="404")
        if plain.startswith("mode/"):
            return None
        if plain.startswith("compatibility/"):
            self._caller.ask("GET", plain.removeprefix("compatibility/"))  # of a subject that is not there: 40401
            return {"is_compatible": True}
        return self._caller.ask(method, path if "format=serialized" not in query else plain, body)


@pytest.fixture(params=["less", "real"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Caller]:
    if request.param == "real":
        if not (url := os.environ.get("REGISTRY_URL")):
            pytest.skip("REGISTRY_URL names no other registry")
        yield HttpCaller(url)
        return
    with running(tmp_path / "registry.db") as served:
        yield Less(HttpCaller(served.url))


@pytest.mark.parametrize("way", ["avro", "json", "protobuf"])
def test_records_there_and_back(other: Caller, way: str) -> None:
    prefix = f"t{uuid4().hex[:8]}"
    for may in (True, False):
        writer = Registrar(other, register=may)
        told = Options(topic_prefix=prefix)
        table = in_order(Encoder("debezium", ORDERS, told, notation=notation(way, writer.register)).encode([batch()]))
        decoded = Decoder("debezium", Registrar(other).look_up).decode(table)
        assert decoded.refused == ()
        (back,) = decoded.batches
        assert {name: back.data[f"after_{name}"][0].as_py() for name in ROW} == ROW


def test_a_change_of_meaning_is_told_where_the_registry_does_not_ask(other: Caller) -> None:
    subject, body = f"t{uuid4().hex[:8]}-value", {"schema": PRICE, "schemaType": "AVRO"}
    assert reasons_against(other, subject, body) == []
    other.ask("POST", f"subjects/{subject}/versions", body)
    assert reasons_against(other, subject, body) == []
    moved = {**body, "schema": PRICE.replace('"scale": 2', '"scale": 3')}
    (found,) = reasons_against(other, subject, moved)
    assert (found["version"], found["kind"], found["path"]) == (1, "LOGICAL_TYPE_MISMATCH", "/price")


def test_it_moves_to_ours_with_its_ids(other: Caller, tmp_path: Path) -> None:
    subject = f"t{uuid4().hex[:8]}-value"
    number = other.ask("POST", f"subjects/{subject}/versions", {"schema": PRICE, "schemaType": "AVRO"})["id"]
    document = export_registry(other)
    document["schemas"] = [one for one in document["schemas"] if one["subject"] == subject]
    store = SqliteStore(tmp_path / "ours.db")
    import_registry(StoreCaller(store), {**document, "configs": {}, "modes": {}})
    assert [(one["subject"], one["id"]) for one in every_version(StoreCaller(store), deleted=True)] == [(subject, number)]
    store.close()


@pytest.mark.parametrize(("level", "found"), [("BACKWARD", []), ("BACKWARD_TRANSITIVE", ["READER_FIELD_MISSING_DEFAULT_VALUE"])])
def test_one_that_judges_one_version_at_a_time_is_asked_for_each(tmp_path: Path, level: str, found: list[str]) -> None:
    """Karapace knows no question about all versions. The third schema fits the second, and not the first."""

    class OneByOne(Less):
        def ask(self, method: str, path: str, body: Any = None) -> Any:
            if path.startswith("compatibility/") and path.partition("?")[0].endswith("/versions"):
                raise RegistryError("The registry answers 404, and says no more.", code="404")
            return self._caller.ask(method, path, body)

    def order(*fields: str) -> dict[str, Any]:
        return {"schema": f'{{"type": "record", "name": "Order", "fields": [{", ".join(fields)}]}}'}

    with running(tmp_path / "registry.db") as served:
        other = OneByOne(HttpCaller(served.url))
        other.ask("PUT", "config/s", {"compatibility": level})
        assert reasons_against(other, "s", order()) == []
        for schema in (order(), order('{"name": "a", "type": "int", "default": 0}')):
            other.ask("POST", "subjects/s/versions", schema)
        told = reasons_against(other, "s", order('{"name": "a", "type": "int"}'))
    assert [one["kind"] for one in told] == found


def test_a_refusal_without_reasons_is_a_refusal(tmp_path: Path) -> None:
    """Some registries say no and nothing else."""

    class Silent(Less):
        def ask(self, method: str, path: str, body: Any = None) -> Any:
            return {"is_compatible": False} if path.startswith("compatibility/") else super().ask(method, path, body)

    with running(tmp_path / "registry.db") as served:
        (found,) = reasons_against(Silent(HttpCaller(served.url)), "s", {"schema": PRICE})
    assert (found["kind"], found["what"]) == ("INCOMPATIBLE", "the registry says no more")
