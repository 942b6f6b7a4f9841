"""Every call of Confluent's client, blocking and asynchronous, against one registry: a table, in its order."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    AsyncSchemaRegistryClient,
    Metadata,
    MetadataProperties,
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    ServerConfig,
)
from confluent_kafka.schema_registry.avro import (
    AsyncAvroDeserializer,
    AsyncAvroSerializer,
    AvroDeserializer,
    AvroSerializer,
)
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import AsyncJSONDeserializer, AsyncJSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from .registry_server import running

INT, LONG = Schema('"int"', "AVRO"), Schema('"long"', "AVRO")
OWNED = Schema('"long"', "AVRO", metadata=Metadata(None, MetadataProperties({"owner": "shop"}), None))
LIST = Schema('{"type": "array", "items": "F"}', "AVRO", [SchemaReference("F", "f", 1)])
FIXED = Schema('{"type": "fixed", "name": "F", "size": 4}', "AVRO")

CALLS: list[tuple[str, tuple[Any, ...], Callable[[Any], Any], Any]] = [
    ("register_schema", ("s", INT), int, 1),
    ("register_schema_full_response", ("s", OWNED), lambda got: (got.schema_id, got.version), (2, 2)),
    ("register_schema", ("f", FIXED), int, 3),
    ("register_schema", ("l", LIST), int, 4),
    ("get_schema", (1,), lambda got: got.schema_str, '"int"'),
    ("get_subjects_by_schema_id", (1,), list, ["s"]),
    ("get_schema_versions", (2,), lambda got: [(one.subject, one.version) for one in got], [("s", 2)]),
    ("lookup_schema", ("s", OWNED), lambda got: got.version, 2),
    ("get_schema_types", (), sorted, ["AVRO", "JSON", "PROTOBUF"]),
    ("get_subjects", (), list, ["f", "l", "s"]),
    ("get_contexts", (), list, ["."]),
    ("get_latest_version", ("s",), lambda got: got.version, 2),
    ("get_latest_with_metadata", ("s", {"owner": "shop"}), lambda got: got.version, 2),
    ("get_version", ("s", 1), lambda got: got.schema_id, 1),
    ("get_versions", ("s",), list, [1, 2]),
    ("get_referenced_by", ("f", 1), list, [4]),
    ("test_compatibility", ("s", LONG), bool, True),
    ("test_compatibility_all_versions", ("s", FIXED), bool, False),
    ("set_compatibility", ("s", "FULL"), dict, {"compatibility": "FULL"}),
    ("get_compatibility", ("s",), str, "FULL"),
    ("set_config", ("s", ServerConfig(compatibility_group="major")), dict, {"compatibilityGroup": "major"}),
    ("get_config", ("s",), lambda got: got.compatibility_group, "major"),
    ("delete_config", ("s",), lambda got: got.compatibility_group, "major"),
    ("update_mode", ("s", "READONLY"), str, "READONLY"),
    ("get_mode", ("s",), str, "READONLY"),
    ("delete_mode", ("s",), str, "READONLY"),
    ("update_global_mode", ("READWRITE",), str, "READWRITE"),
    ("get_global_mode", (), str, "READWRITE"),
    ("delete_version", ("s", 1), int, 1),
    ("delete_subject", ("s",), list, [2]),
]
REFUSED: list[tuple[str, tuple[Any, ...], int]] = [
    ("get_schema_by_guid", ("00000000-0000-0000-0000-000000000000",), 40403),
    ("get_associations_by_resource_name", ("orders", "-"), 404),
    ("delete_associations", ("orders",), 404),
]
NOT_ASKED = {"clear_caches", "clear_latest_caches", "close", "aclose", "config", "new_client", "create_association"}
"""`create_association` takes a request of many parts; what it posts to is not there, like the two beside it."""


async def _done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.mark.parametrize("kind", [SchemaRegistryClient, AsyncSchemaRegistryClient])
def test_every_call(kind: Any, tmp_path: Path) -> None:
    async def walk(url: str) -> None:
        client = kind({"url": url})
        try:
            for name, words, shown, wanted in CALLS:
                assert shown(await _done(getattr(client, name)(*words))) == wanted, name
            for name, words, code in REFUSED:
                with pytest.raises(SchemaRegistryError) as error:
                    await _done(getattr(client, name)(*words))
                assert error.value.error_code == code, name
        finally:
            await _done(client.aclose() if hasattr(client, "aclose") else client.close())

    with running(tmp_path / "registry.db") as served:
        asyncio.run(walk(served.url))
    told = {name for name, *_ in (*CALLS, *REFUSED)}
    assert {name for name in dir(kind) if not name.startswith("_")} - NOT_ASKED == told


def test_asynchronous_serializers(tmp_path: Path) -> None:
    """Schemas are registered and found by them as by the blocking ones."""
    order = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}'
    closed = '{"title": "Order", "type": "object", "properties": {"id": {"type": "integer"}}, "additionalProperties": false}'

    async def walk(url: str) -> None:
        async with AsyncSchemaRegistryClient({"url": url}) as client:
            for topic, write, read in (
                ("avro", await AsyncAvroSerializer(client, order), await AsyncAvroDeserializer(client)),
                ("json", await AsyncJSONSerializer(closed, client), await AsyncJSONDeserializer(closed, schema_registry_client=client)),
            ):
                context = SerializationContext(topic, MessageField.VALUE)
                assert await read(await write({"id": 7}, context), context) == {"id": 7}
            assert await client.get_subjects() == ["avro-value", "json-value"]

    with running(tmp_path / "registry.db") as served:
        asyncio.run(walk(served.url))


@pytest.fixture
def connect() -> Iterator[Callable[..., SchemaRegistryClient]]:
    with ExitStack() as stack:
        yield lambda url, **more: stack.enter_context(SchemaRegistryClient({"url": url, **more}))


Connect = Callable[..., SchemaRegistryClient]
VALUE = SerializationContext("orders", MessageField.VALUE)
THERE = {"auto.register.schemas": False}


def test_tokens_of_the_stock_client(tmp_path: Path, connect: Connect) -> None:
    """As Bearer, as the password of Basic, in the address; a reader's serializers find what is registered, and no more."""
    with running(tmp_path / "t.db", tokens={"writer-secret": True, "reader-secret": False}) as served:
        bearer = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.logical.cluster": "any", "bearer.auth.identity.pool.id": "any"}
        writer = connect(served.url, **{"basic.auth.user.info": "anybody:writer-secret"})
        reader = connect(served.url, **bearer, **{"bearer.auth.token": "reader-secret"})
        beside = connect(served.url.replace("://", "://anybody:reader-secret@"))
        for stranger in (connect(served.url), connect(served.url, **bearer, **{"bearer.auth.token": "wrong"})):
            refused((401, 401), stranger.get_subjects)
        refused((403, 40301), lambda: AvroSerializer(reader, '"long"')(7, VALUE))
        written = AvroSerializer(writer, '"long"')(7, VALUE)
        assert AvroSerializer(reader, '"long"', conf=THERE)(7, VALUE) == written
        assert AvroDeserializer(beside)(written, VALUE) == 7


def test_a_read_only_registry_and_the_stock_client(tmp_path: Path, connect: Connect) -> None:
    with running(tmp_path / "r.db") as served:
        written = AvroSerializer(connect(served.url), '"long"')(7, VALUE)
    with running(tmp_path / "r.db", read_only=True) as served:
        client = connect(served.url)
        assert AvroDeserializer(client)(written, VALUE) == 7
        assert AvroSerializer(client, '"long"', conf=THERE)(7, VALUE) == written
        for name, words in (("register_schema", ("orders-value", INT)), ("delete_subject", ("orders-value",)),
                            ("set_compatibility", (None, "NONE")), ("update_global_mode", ("READWRITE",))):  # fmt: skip
            refused((422, 42205), getattr(client, name), *words)


def refused(codes: tuple[int, int], call: Callable[..., Any], *words: Any) -> None:
    with pytest.raises(SchemaRegistryError) as error:
        call(*words)
    assert (error.value.http_status_code, error.value.error_code) == codes
