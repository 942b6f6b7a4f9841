"""One connection to a Kafka cluster."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaError, Producer

from ...errors import BusError
from ..bus import RECORD_SCHEMA, Abilities, Partition, Published, Span, Start, Topic
from ..placing import partition_of
from ..refusals import closed
from .client import CONSUMER, LOG, PRODUCER, configured, explained, failure
from .member import KafkaMember
from .producing import Feeder
from .publisher import PLACES, KafkaPublisher
from .reading import Readers, last_records
from .topics import Topics, since

ABILITIES = Abilities(transactions=True, compaction=True, timestamps="ms")
TICKETS = Topic(name="__bitvelocity-tickets", retention=timedelta(hours=1))
"""Whoever is given partitions writes a record here: its offset is higher than that of everyone before."""
_TICKET = pa.Table.from_pylist([{"value": b""}], schema=RECORD_SCHEMA)


class KafkaBus:
    """Kafka, by its own C client. `client`: settings of librdkafka, such as those of SASL and TLS.

    `direct`: records are read without the client where that is possible, see `fetching`. `replicas`: of the topics in which places
    and generations are kept. A call that gets no answer within `patience` seconds is a `BusLostError`.
    """

    def __init__(
        self, bootstrap: str, *, client: Mapping[str, str] | None = None, patience: float = 30.0, direct: bool = True,
        replicas: int = 1,
    ) -> None:  # fmt: skip
        self._plain = configured(bootstrap, client or {})
        self._producing = configured(bootstrap, client or {}, PRODUCER)
        self._consuming = configured(bootstrap, client or {}, CONSUMER)
        self._patience, self._replicas = patience, replicas
        self._topics = Topics(self._plain, patience)
        self._readers = Readers(self._consuming, self._topics, direct=direct)
        self._producer: Producer | None = None
        self._appending = threading.Lock()
        self._closed = False

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    def ensure(self, topic: Topic) -> None:
        self._topics.ensure(topic)

    def held(self, wanted: Topic) -> Topic | None:
        return self._topics.held(wanted)

    def topics(self) -> Mapping[str, int]:
        return self._topics.partitions()

    def append(self, topic: str, records: pa.Table) -> Published:
        known = self._topics.known(topic)
        if not len(records):
            return Published({}, 0)
        wrong: dict[KafkaError | None, Any] = {}
        with self._appending:
            feeder = Feeder(self._appender(), self._patience)
            try:
                with explained("append", entity=topic):
                    partitions = partition_of(records["key"], known.partitions)
                    feeder.give(topic, records, partitions, report=wrong.setdefault)
                    feeder.flush()
                if error := next((error for error in wrong if error is not None), None):
                    raise failure(error, "append", entity=topic)
            except BusError:
                self._drop_appender()
                raise
        return Published(dict(feeder.ends), len(records))

    def read(
        self, partition: Partition, offset: int, *, limit: int = 10_000, timeout: float = 1.0
    ) -> pa.Table:
        self._check(partition)
        return self._readers.read(partition, offset, limit, timeout)

    def spans(self, topic: str) -> Mapping[int, Span]:
        """First and end offset of each partition; the end is that of its last record, whatever marks come after it."""
        return last_records(self._consuming, self._topics, topic, self._patience)

    def seek_time(self, topic: str, at: datetime) -> Mapping[int, int]:
        millis = int(at.timestamp() * 1_000_000) // 1000
        found = self._topics.offsets(topic, since(max(0, millis)))
        ends = self.spans(topic) if min(found.values()) < 0 else {}
        return {number: offset if offset >= 0 else ends[number].end for number, offset in found.items()}

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        return self._topics.committed(group, topic)

    def publisher(self, name: str) -> KafkaPublisher:
        self._topics.ensure(replace(PLACES, replicas=self._replicas))
        return KafkaPublisher(
            name, self._topics, producer=self._producing, consumer=self._consuming, patience=self._patience
        )

    def member(self, group: str, topics: Sequence[str], *, start: Start | None = None) -> KafkaMember:
        for topic in topics:
            self._topics.known(topic)
        self._topics.ensure(replace(TICKETS, replicas=self._replicas))
        return KafkaMember(
            group, topics, self._consuming,
            cluster=self._topics, start=start, ticket=self._ticket, patience=self._patience,
        )  # fmt: skip

    def forget(self, partition: Partition, offset: int) -> None:
        """Let go of the records below an offset, as retention would in time."""
        self._topics.forget(*partition, offset)

    def close(self) -> None:
        self._readers.close()
        with self._appending:
            self._closed = True
            self._drop_appender()

    def _ticket(self) -> int:
        return self.append(TICKETS.name, _TICKET).ends[Partition(TICKETS.name, 0)]

    def _appender(self) -> Producer:
        if self._closed:
            raise closed()
        if self._producer is None:
            config = {**self._producing, "message.timeout.ms": int(self._patience * 1000)}
            with explained("be configured"):
                self._producer = Producer(config, logger=LOG)
        return self._producer

    def _drop_appender(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0)

    def _check(self, partition: Partition) -> None:
        if partition.number >= self._topics.known(partition.topic).partitions:
            raise BusError(f"The topic has no partition {partition.number}.", entity=partition.topic)
