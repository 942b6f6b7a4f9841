"""Topics on the brokers: made, brought to what is wanted, described; where their partitions begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Lock
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from confluent_kafka.admin._listoffsets import OffsetSpec

from ...errors import BusError, BusLostError
from ..asking import asked_again
from ..bus import Topic
from .client import LARGEST, LOG, NO_TOPIC, explained, failure
from .door import Door

HIDDEN = "__"
"""Names that begin with it are Kafka's own, and ours."""
_SPEC: Any = OffsetSpec  # its makers have no types
EARLIEST, LATEST = _SPEC.earliest(), _SPEC.latest()
OVERHEAD = 1 << 20
"""Room for the head of a batch, in bytes."""
HEARD_S = 5.0
"""So long a broker of a cluster may not know yet what another one has told us of: a topic that is there."""
TOMBSTONES_STAY = timedelta(days=7)



def since(millis: int) -> OffsetSpec:
    """The first record at or after a moment."""
    found: OffsetSpec = _SPEC.for_timestamp(millis)
    return found


@dataclass(frozen=True, slots=True)
class Described:
    """A topic that is there. One that was deleted and made again has another `id`. `led`: each partition has a leader now."""

    id: str
    partitions: int
    replicas: int = 1
    led: bool = True


class Topics:
    """The administrator's side of one cluster. May be used from several threads.

    Each call has the client that it asks in a name of its own until it is answered: one that nobody holds is ended, and with
    it, by a crash at times, what others wait for.
    """

    def __init__(self, config: Mapping[str, Any], patience: float) -> None:
        self._door, self._patience, self._config = Door(config, patience), patience, dict(config)
        self._admin = self._door.admin()
        self._renewing = Lock()
        self._known: dict[str, Described] = {}

    def ensure(self, topic: Topic) -> None:
        """Make it, or bring its settings to what is wanted; its number of partitions never changes."""
        found = self._described([topic.name]).get(topic.name)
        if found is None:
            self._make(topic)
            found = self._settled(topic)
            self._known[topic.name] = found
            self.offsets(topic.name, EARLIEST)  # its leaders answer
        if found.partitions != topic.partitions:
            raise BusError(
                f"The topic has {found.partitions} partitions, and {topic.partitions} are wanted.",
                entity=topic.name,
                safe="The topic is as it was.",
                remedy="The number of partitions never changes: keys would lose their order. Make a topic of another name.",
            )
        self._configure(replace(topic, replicas=found.replicas))
        self._known[topic.name] = found

    def held(self, wanted: Topic) -> Topic | None:
        """The topic as the brokers have it; None when there is none."""
        found = self._described([wanted.name]).get(wanted.name)
        if found is None:
            return None
        now = self._settings(wanted.name)
        millis, size = int(now["retention.ms"] or -1), int(now["retention.bytes"] or -1)
        policy = str(now["cleanup.policy"])
        deletes = "delete" in policy
        return replace(
            wanted,
            partitions=found.partitions,
            retention=timedelta(milliseconds=millis) if deletes and millis >= 0 else None,
            retention_bytes=size if deletes and size >= 0 else None,
            compacted="compact" in policy,
            replicas=found.replicas,
        )

    def partitions(self) -> Mapping[str, int]:
        """The topics that are there, but for those that Kafka and we keep for ourselves."""
        self._door.enter(self._admin)
        with explained("list the topics"):
            found = self._admin.list_topics(timeout=self._patience).topics
        return {name: len(topic.partitions) for name, topic in found.items() if not name.startswith(HIDDEN)}

    def leaders(self, name: str) -> Mapping[int, tuple[str, int]]:
        """Host and port of the broker that leads each partition now; those without one are left out."""
        with explained("tell who leads", entity=name):
            found = self._admin.list_topics(name, timeout=self._patience)
        parts = found.topics[name].partitions.values()
        brokers = {number: (str(broker.host), int(broker.port)) for number, broker in found.brokers.items()}
        return {part.id: brokers[part.leader] for part in parts if part.leader in brokers}

    def known(self, name: str) -> Described:
        """The topic; looked up once."""
        if name not in self._known:
            self._known[name] = self.look_up([name])[name]
        return self._known[name]

    def look_up(self, names: Iterable[str]) -> Mapping[str, Described]:
        """The topics as they are now; one that is not there is an error."""
        wanted, found = list(names), dict[str, Described]()

        def ask() -> Mapping[str, Described]:
            found.update(self._described([name for name in wanted if name not in found]))
            for name in wanted:
                if name not in found:
                    raise BusError(
                        "There is no such topic.",
                        entity=name,
                        safe="Nothing was written.",
                        remedy="Make the topic first (Bus.ensure); nothing is made by writing to it.",
                        code=NO_TOPIC,
                    )
            return found

        return asked_again(ask, lambda error: HEARD_S if error.code == NO_TOPIC and error.entity in self._known else 0)

    def offsets(self, name: str, where: OffsetSpec, *, committed: bool = True) -> Mapping[int, int]:
        """An offset of each partition; of `LATEST` the end of what is committed, or of all that is written."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {TopicPartition(name, number): where for number in range(self.known(name).partitions)}

        def lasts(error: BusError) -> float:
            return self._patience if isinstance(error, BusLostError) else _unheard(error)  # a leader is being chosen

        def ask() -> Mapping[int, int]:
            admin = self._admin
            try:
                with explained("tell offsets", entity=name):
                    answers = admin.list_offsets(asked, isolation_level=level, request_timeout=self._patience)
                    return {place.partition: self._result(answer).offset for place, answer in answers.items()}
            except BusError as error:
                if lasts(error):
                    self._renew(admin)  # the client keeps the epoch of a leader that fell, for ever
                raise

        return asked_again(ask, lasts)

    def committed(self, group: str, name: str) -> Mapping[int, int]:
        """The offsets that the group has committed, of partitions that have one.

        A consumer asks that never joins. The administrator's question (list_consumer_group_offsets) ends our process, by a
        fault in the client's C code, where the broker answers that it is not the group's coordinator, or not yet.
        """
        asked = [TopicPartition(name, number) for number in range(self.known(name).partitions)]
        with explained("tell what a group has committed", entity=name):
            consumer = Consumer({**self._config, "group.id": group, "enable.auto.commit": False}, logger=LOG)
            try:
                found = consumer.committed(asked, timeout=self._patience)
                if wrong := next((place.error for place in found if place.error), None):
                    raise KafkaException(wrong)
            finally:
                consumer.close()
        return {place.partition: place.offset for place in found if place.offset >= 0}

    def forget(self, name: str, number: int, offset: int) -> None:
        """Let go of the records below an offset."""
        admin = self._admin
        with explained("delete records", entity=name):
            for answer in admin.delete_records([TopicPartition(name, number, offset)]).values():
                self._result(answer)

    def reachable(self) -> bool:
        """A broker answers."""
        try:
            self._admin.list_topics(timeout=min(self._patience, 5.0))
        except KafkaException:
            return False
        return True

    def _renew(self, admin: AdminClient) -> None:
        """Another client for whoever asks from now on; the first of those that it failed makes it."""
        with self._renewing:
            if self._admin is admin:
                self._admin = self._door.admin()

    def _described(self, names: list[str]) -> dict[str, Described]:
        admin = self._admin
        self._door.enter(admin)
        answers = admin.describe_topics(TopicCollection(names), request_timeout=self._patience)
        found = {}
        for name, answer in answers.items():
            try:
                topic = self._result(answer)
            except KafkaException as error:
                if _code(error) == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                raise failure(error, "describe a topic", entity=name) from error
            replicas = min((len(part.replicas) for part in topic.partitions), default=0)
            led = bool(replicas) and all(part.leader is not None for part in topic.partitions)
            found[name] = Described(str(topic.topic_id), len(topic.partitions), replicas, led)
        return found

    def _make(self, topic: Topic) -> None:
        new, admin = NewTopic(topic.name, topic.partitions, topic.replicas, config=_config(topic)), self._admin
        with explained("make a topic", entity=topic.name):
            try:
                for answer in admin.create_topics([new], request_timeout=self._patience).values():
                    self._result(answer)
            except KafkaException as error:
                if _code(error) != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was quicker
                    raise

    def _settled(self, topic: Topic) -> Described:
        """What was made is known to its leader."""
        late = failure(KafkaError(KafkaError._TIMED_OUT), "make a topic", entity=topic.name)

        def ask() -> Described:
            found = self._described([topic.name]).get(topic.name)
            if found is None or not found.led:
                raise late
            return found

        return asked_again(ask, lambda error: self._patience if error is late else 0, pause=0.02)

    def _configure(self, topic: Topic) -> None:
        now = self._settings(topic.name)
        changes = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in _config(topic).items()
            if now.get(name) != value
        ]
        if changes:
            wanted, admin = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=changes), self._admin
            with explained("change a topic's settings", entity=topic.name):
                (changed,) = admin.incremental_alter_configs([wanted], request_timeout=self._patience).values()
                self._result(changed)

    def _settings(self, name: str) -> dict[str, str | None]:
        resource, admin = ConfigResource(ResourceType.TOPIC, name), self._admin

        def ask() -> dict[str, str | None]:
            with explained("read a topic's settings", entity=name):
                (answer,) = admin.describe_configs([resource], request_timeout=self._patience).values()
                return {key: entry.value for key, entry in self._result(answer).items()}

        return asked_again(ask, _unheard)

    def _result(self, answer: Future[Any]) -> Any:
        try:
            return answer.result(self._patience + 5)
        except TimeoutError as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error


def _unheard(error: BusError) -> float:
    """The topic is there, and this broker has not heard of it."""
    return HEARD_S if error.code == NO_TOPIC else 0


def _code(error: BaseException | None) -> int | None:
    found = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return int(found.code()) if isinstance(found, KafkaError) else None


def _config(topic: Topic) -> dict[str, str]:
    """All that a topic's wishes say, so that a wish that was taken back is taken back on the broker too."""
    policy = ["compact"] if topic.compacted else ["delete"]
    if topic.compacted and (topic.retention is not None or topic.retention_bytes is not None):
        policy.append("delete")
    millis = -1 if topic.retention is None else topic.retention // timedelta(milliseconds=1)
    config = {
        "cleanup.policy": ",".join(policy),
        "retention.ms": str(millis),
        "retention.bytes": str(-1 if topic.retention_bytes is None else topic.retention_bytes),
        "min.insync.replicas": str(max(1, topic.replicas - 1)),
        "message.timestamp.after.max.ms": str(2**63 - 1),  # a source's clock may be ahead of the broker's
        "max.message.bytes": str(LARGEST + OVERHEAD),
    }
    if topic.compacted:
        config["delete.retention.ms"] = str(TOMBSTONES_STAY // timedelta(milliseconds=1))
        config["min.cleanable.dirty.ratio"] = "0.1"
    return config
