"""How Kafka's client is configured, and what its errors mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from ...errors import BusError, BusLostError, FencedError, SettingsError

LOG = logging.getLogger("bitvelocity.kafka")
LOG.addHandler(logging.NullHandler())

OURS = frozenset(
    "acks allow.auto.create.topics auto.offset.reset bootstrap.servers enable.auto.commit enable.auto.offset.store "
    "enable.idempotence enable.partition.eof group.id group.protocol isolation.level partitioner request.required.acks "
    "transactional.id".split()
)
"""Settings on which a promise of the bus stands: the user's are refused."""

CONNECTION: Mapping[str, Any] = {
    "client.id": "bitvelocity",
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "log.connection.close": False,
    "socket.timeout.ms": 10_000,  # a broker that says nothing has fallen, or is frozen: others lead by then
}
NO_TOPIC = "NoSuchTopic"
"""Code of the error when a broker does not know a topic."""
LARGEST = 16 << 20
"""Bytes of the largest record: of the topics that we make, and of what our producers send."""
PRODUCER: Mapping[str, Any] = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "compression.type": "lz4",
    "message.max.bytes": LARGEST,
    "request.timeout.ms": 10_000,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
}
CONSUMER: Mapping[str, Any] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 32_768,
}

_FENCED = {
    KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_MEMBER_EPOCH, KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.REBALANCE_IN_PROGRESS, KafkaError.FENCED_INSTANCE_ID, KafkaError._ASSIGNMENT_LOST,
    KafkaError._MAX_POLL_EXCEEDED,
}  # fmt: skip
_LOST = {
    KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE,
    KafkaError._MSG_TIMED_OUT, KafkaError._RESOLVE, KafkaError._WAIT_COORD, KafkaError._RETRY, KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT, KafkaError._DESTROY_BROKER, KafkaError._PARTIAL, KafkaError._STATE, KafkaError._CONFLICT,
    KafkaError._IN_PROGRESS, KafkaError._PREV_IN_PROGRESS,
    KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR, KafkaError.NOT_CONTROLLER,
    KafkaError.NETWORK_EXCEPTION, KafkaError.BROKER_NOT_AVAILABLE, KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID, KafkaError.TRANSACTION_ABORTABLE,
    KafkaError.KAFKA_STORAGE_ERROR, KafkaError.UNSTABLE_OFFSET_COMMIT, KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH, KafkaError._NOENT, KafkaError.REPLICA_NOT_AVAILABLE, KafkaError.OFFSET_NOT_AVAILABLE,
}  # fmt: skip
_REMEDIES: Mapping[int, str] = {
    **dict.fromkeys(
        (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION),
        "Make the topic first (Bus.ensure); nothing is made by writing to it.",
    ),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "Ask for an ACL of this user: CREATE, DESCRIBE, READ, WRITE, DESCRIBE_CONFIGS and "
    "ALTER_CONFIGS of its topics, and of those whose names begin with __bitvelocity.",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "Ask for an ACL of this user: CREATE of the topics, or of the cluster.",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "Ask for an ACL of this user: READ of the group.",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "Ask for an ACL of this user: WRITE and DESCRIBE of the transactional id, which is "
    "the publisher's name.",
    **dict.fromkeys(
        (KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._AUTHENTICATION),
        "Check sasl.mechanism, sasl.username and sasl.password in [streams.kafka.client].",
    ),
    KafkaError._SSL: "Check ssl.ca.location in [streams.kafka.client]: the file of the authority that signed the broker's certificate; "
    "that the certificate has the broker's name as bootstrap has it; and ssl.certificate.location and ssl.key.location where the "
    "broker asks for ours.",
    KafkaError.MSG_SIZE_TOO_LARGE: "Raise max.message.bytes of the topic and message.max.bytes of the client.",
    KafkaError.INVALID_REPLICATION_FACTOR: "Lower `replicas` ([streams], [[routes]]) to the number of brokers, or start more of them.",
    KafkaError.INVALID_RECORD: "A compacted topic takes records with a key only.",
}  # fmt: skip


def configured(bootstrap: str, client: Mapping[str, str], *more: Mapping[str, Any]) -> dict[str, Any]:
    """One configuration; what the user set goes before our defaults, and never before what a promise needs."""
    if wrong := sorted(OURS & client.keys()):
        raise BusError(
            f"{', '.join(wrong)} cannot be set for Kafka's client: the bus sets it.",
            safe="Nothing was connected.",
            remedy="Leave it out. The servers are named by [streams.kafka] bootstrap.",
        )
    for name, file in client.items():
        if name.endswith(".location") and file and file != "probe" and not Path(file).exists():
            raise SettingsError(f"{name} = {file} is not there.", safe="Nothing was connected.", remedy="Name a file (PEM).")
    merged = {name: value for part in more for name, value in part.items()}
    kept = {name: value for name, value in merged.items() if name in OURS or name not in client}
    return {"bootstrap.servers": bootstrap, **CONNECTION, **client, **kept}


def failure(error: object, doing: str, *, entity: str | None = None) -> BusError:
    """What an error of the client means, and who retries."""
    found = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(found, KafkaError):
        return BusError(f"Kafka's client cannot {doing}: {error}", entity=entity, remedy="Correct [streams.kafka].")
    code, text = found.code(), f"Kafka cannot {doing}: {found.str()} ({found.name()})."
    if code in _FENCED:
        return FencedError(text, entity=entity, safe="What was acknowledged stays.", code="Fenced")
    if code not in _REMEDIES and (code in _LOST or found.retriable()):
        return unsure(text, entity=entity)
    remedy, name = _REMEDIES.get(code, "Read the broker's log."), NO_TOPIC if code == KafkaError.UNKNOWN_TOPIC_OR_PART else None
    return BusError(text, entity=entity, safe="What was acknowledged stays.", remedy=remedy, code=name)


def unsure(text: str, *, entity: str | None = None) -> BusLostError:
    """Nobody knows what became of a call."""
    safe = "What was acknowledged stays; what was under way may have happened or not."
    return BusLostError(text, entity=entity, safe=safe, remedy="Nothing: it is tried again.")


@contextmanager
def explained(doing: str, *, entity: str | None = None) -> Iterator[None]:
    """Turn the client's errors into ours."""
    try:
        yield
    except KafkaException as error:
        raise failure(error, doing, entity=entity) from error
