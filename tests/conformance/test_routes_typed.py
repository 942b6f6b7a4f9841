"""Routes over Kafka as others read them: typed values by the stock client and our registry, the state of a table by compaction."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.confluent import meta_pb2
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from bitvelocity.flow import Pipeline, Project, diagnose, open_project, prepare, registry_beside
from bitvelocity.flow.outbound import route_stands
from bitvelocity.oltp import connect
from bitvelocity.streams.servers import LocalServer

ENTITIES = '''
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Numeric

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
    price: Annotated[Decimal, Numeric(10, 2)]
    note: str | None
'''
ROUTES = {
    "proto": 'wire = "protobuf"\n', "schema": 'wire = "json-schema"\n',
    "state": 'wire = "protobuf"\nformat = "debezium-unwrapped"\ncompacted = true\n',
}  # fmt: skip


def test_the_stock_client_reads_typed_rows_and_a_table_as_it_stands(
    open_folder: Path, database: str, kafka_server: LocalServer
) -> None:
    name = open_folder.name.lower().replace("-", "_")
    project = routed(open_folder, database, kafka_server.address)
    with registry_beside(project.settings, print) as url, SchemaRegistryClient({"url": url}) as client:
        run(project, database)
        read_protobuf(message_class(client, f"{name}-proto"), client, records(kafka_server.address, f"{name}-proto"))
        read_json(client, records(kafka_server.address, f"{name}-schema"), f"{name}-schema")
        state = records(kafka_server.address, f"{name}-state")
    assert [one.value() is None for one in state] == [False, False, False, True]
    assert state[0].key() == state[3].key(), "the tombstone ends the key"
    topic = f"{name}-state.public.things"
    found = broker_config(kafka_server.address, topic)
    assert found["cleanup.policy"] == "compact"
    assert (found["delete.retention.ms"], found["retention.ms"], found["min.cleanable.dirty.ratio"]) == ("604800000", "-1", "0.1")
    (check,) = [check for check in diagnose(project.root) if check.name == "route state"]
    assert (check.state, check.what) == ("ok", "1 topics on kafka, as they are wanted")


def routed(folder: Path, database: str, kafka: str) -> Project:
    name = folder.name.lower().replace("-", "_")
    routes = "".join(f'[[routes]]\nname = "{one}"\nprefix = "{name}-{one}"\n{more}' for one, more in ROUTES.items())
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "bitvelocity.toml").write_text(
        f'[database]\ndsn = "{database}"\n[capture]\nslot = "typed_{name}"\n[registry]\nport = 0\n[streams]\nbus = "kafka"\n'
        f'[streams.kafka]\nbootstrap = "{kafka}"\n{routes}'
    )
    project = open_project(folder)
    prepare(project, database)
    return project


def run(project: Project, database: str) -> None:
    """Two rows, an update and a deletion, on all topics."""
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        with connect(database, autocommit=True) as connection:
            connection.execute("insert into things values (1, 12.30, 'é'), (2, 0.05, null)")
            connection.execute("update things set price = 99999999.99 where id = 2")
            connection.execute("delete from things where id = 1")
            (end,) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone() or (0,)
        while pipeline.seen < int(end):
            pipeline.step(0.1)
        while not pipeline.trouble and (pipeline.step(0.05) or any(route.state != "level" for route in route_stands(project))):
            pipeline.finish()
        pipeline.finish()
        assert pipeline.trouble is None, pipeline.trouble


def read_protobuf(kind: Any, client: SchemaRegistryClient, found: list[Any]) -> None:
    decode = ProtobufDeserializer(kind, {"use.deprecated.format": False}, client)
    told: list[Any] = [decode(one.value(), value_of(one)) for one in found if one.value() is not None]
    assert [one.op for one in told] == ["c", "c", "u", "d"]
    assert [money(one.after.price) for one in told[:3]] == [Decimal("12.30"), Decimal("0.05"), Decimal("99999999.99")]
    assert (told[0].after.note, told[1].after.HasField("note"), told[3].HasField("after")) == ("é", False, False)
    assert (told[3].before.id, told[3].before.note) == (1, "é")


def read_json(client: SchemaRegistryClient, found: list[Any], prefix: str) -> None:
    schema = client.get_latest_version(f"{prefix}.public.things-value").schema
    assert schema.schema_type == "JSON"
    decode = JSONDeserializer(schema, schema_registry_client=client)
    told: list[Any] = [decode(one.value(), value_of(one)) for one in found if one.value() is not None]
    assert [one["op"] for one in told] == ["c", "c", "u", "d"]
    assert [one["after"] and one["after"]["id"] for one in told] == [1, 2, 2, None]
    assert (told[0]["after"]["note"], told[1]["after"]["note"]) == ("é", None)


def money(value: bytes) -> Decimal:
    return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-2)


def value_of(record: Any) -> SerializationContext:
    return SerializationContext(record.topic(), MessageField.VALUE, record.headers())


def records(kafka: str, prefix: str) -> list[Any]:
    """What the stock consumer gets of the topic, to its end."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": prefix, "enable.auto.commit": False})
    with closing(consumer):
        place = TopicPartition(f"{prefix}.public.things", 0, 0)
        consumer.assign([place])
        found: list[Any] = []
        wanted = 4 if prefix.endswith("state") else 5  # a tombstone comes behind the deletion of an envelope
        while len(found) < wanted:
            found += consumer.consume(wanted, 10.0)
        return found


def message_class(client: SchemaRegistryClient, prefix: str) -> Any:
    """What a compiler makes of the schema as the registry gives it."""
    topic = f"{prefix}.public.things"
    text = client.get_latest_version(f"{topic}-value", fmt="serialized").schema.schema_str
    file = FileDescriptorProto.FromString(base64.b64decode(text or ""))
    file.name = "things.proto"
    pool = DescriptorPool()
    for one in (descriptor_pb2, meta_pb2):
        pool.AddSerializedFile(one.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    (kind,) = [one.name for one in file.message_type if one.name == "Envelope"]
    return GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{kind}"))


def broker_config(kafka: str, topic: str) -> Mapping[str, str]:
    admin = AdminClient({"bootstrap.servers": kafka})
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: str(entry.value) for name, entry in answer.result(30).items()}
