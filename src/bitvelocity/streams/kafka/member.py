"""A member of a consumer group: partitions come and go inside `poll`, and each has a number that grows with every owner."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from ...errors import BusError, FencedError
from ..bus import Fetched, Partition, Start
from .client import explained, failure
from .columns import Message, incoming
from .reading import Fetcher, lost, mishap
from .topics import Topics

_UNKNOWN_PROTOCOL = KafkaError(KafkaError.UNSUPPORTED_VERSION).str().partition(": ")[2]
"""What the client says of a broker that does not have the group protocol; the code is that of any fatal error."""
Ticket = Callable[[], int]
"""Draws a number that is higher than all that anybody has drawn before."""
STALE_S = 5.0
"""A commit may come while the group is being arranged anew; for so long it is tried again."""


class KafkaMember:
    """One reader of a group, by the group protocol of the broker (KIP-848), or the classic one of older brokers."""

    def __init__(
        self,
        group: str,
        topics: Sequence[str],
        config: Mapping[str, Any],
        *,
        cluster: Topics,
        start: Start | None,
        ticket: Ticket,
        patience: float,
    ) -> None:
        self._group, self._topics, self._config = group, list(topics), dict(config)
        self._cluster, self._start, self._ticket, self._patience = cluster, start, ticket, patience
        self._assigned: dict[Partition, int] = {}
        self._next: dict[Partition, int] = {}
        self._spoilt = False
        """A partition came and could not be begun: the client reads it from somewhere."""
        self._held: BusError | None = None
        """What is to be told after the records that came before it."""
        self._protocol = "consumer"
        self._fetcher = self._join()

    def poll(self, timeout: float = 1.0, *, limit: int = 10_000) -> Sequence[Fetched]:
        """What is there, up to about `limit` records in all; waits up to `timeout` seconds for the first."""
        self._tell_held()
        if self._spoilt:
            self._join_again()
        messages = self._records(self._fetcher.take(limit, timeout))
        if not messages:
            if self._fetcher.down and not self._cluster.reachable():
                raise lost()
            self._fetcher.down = False
            return []
        self._fetcher.down = False
        return self._by_partition(messages)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Next offsets, all or none; of a partition that is not ours it is a `FencedError`."""
        for partition in offsets:
            if partition not in self._assigned:
                raise _not_ours(partition, self._group)
        if not offsets:
            return
        places = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        deadline = time.monotonic() + STALE_S
        while True:
            try:
                done = self._consumer.commit(offsets=places, asynchronous=False)
                wrong = next((place.error for place in done or () if place.error), None)
            except KafkaException as error:
                wrong = error.args[0]
            if wrong is None:
                return
            if wrong.code() != KafkaError.STALE_MEMBER_EPOCH or time.monotonic() > deadline:
                raise failure(wrong, "commit offsets", entity=self._group)
            time.sleep(0.05)

    def reject(self, partition: Partition, offsets: Sequence[int], *, again: bool) -> None:  # noqa: ARG002 - the seam's
        raise BusError(
            "Kafka hands no single records back.", entity=partition.topic, remedy="Ask the bus for its abilities first."
        )

    def seek(self, partition: Partition, offset: int) -> None:
        """Go on from there with the next `poll`."""
        if partition not in self._assigned:
            raise _not_ours(partition, self._group)
        place = TopicPartition(*partition, offset)
        with explained("seek", entity=partition.topic):
            self._consumer.incremental_unassign([place])
            self._consumer.incremental_assign([place])
        self._next[partition] = offset

    @property
    def assigned(self) -> Mapping[Partition, int]:
        """The partitions that are ours now, each with its generation."""
        return dict(self._assigned)

    def close(self) -> None:
        """Leave the group at once."""
        self._assigned.clear()
        self._fetcher.close()

    @property
    def _consumer(self) -> Consumer:
        return self._fetcher.consumer

    def _tell_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            raise held

    def _join_again(self) -> None:
        self._assigned.clear()
        self._fetcher.close()
        self._fetcher, self._spoilt = self._join(), False

    def _join(self) -> Fetcher:
        more: dict[str, Any] = {"group.id": self._group, "group.protocol": self._protocol}
        if self._protocol == "classic":
            more["partition.assignment.strategy"] = "cooperative-sticky"
        fetcher = Fetcher({**self._config, **more})
        with explained("join a group", entity=self._group):
            fetcher.consumer.subscribe(
                self._topics, on_assign=self._given, on_revoke=self._taken, on_lost=self._taken
            )
        return fetcher

    def _given(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        try:
            self._begin(consumer, places)
        except BaseException:
            self._spoilt = True
            raise

    def _begin(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Each begins where the sink says, else where the group stands, else with the first record that is kept."""
        ours = [Partition(place.topic, place.partition) for place in places]
        starts = {partition: self._start(partition) if self._start else None for partition in ours}
        open_ones = [TopicPartition(*partition) for partition, start in starts.items() if start is None]
        if open_ones:
            with explained("tell what a group has committed", entity=self._group):
                for place in consumer.committed(open_ones, timeout=self._patience):
                    starts[Partition(place.topic, place.partition)] = place.offset if place.offset >= 0 else None
        generation = self._ticket() if ours else 0
        begins = {partition: OFFSET_BEGINNING if start is None else start for partition, start in starts.items()}
        consumer.incremental_assign([TopicPartition(*partition, begin) for partition, begin in begins.items()])
        self._assigned.update(dict.fromkeys(ours, generation))
        self._next.update(begins)

    def _taken(self, _: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            self._assigned.pop(Partition(place.topic, place.partition), None)

    def _records(self, messages: list[Message]) -> list[Message]:
        """Records of partitions that are still ours; an error of the client only when nothing else came, or after it."""
        good = [message for message in messages if message.error() is None]
        wrong = next((message for message in messages if message.error() is not None), None)
        if wrong is not None:
            try:
                self._judge(wrong, whole=not good)
            except BusError as error:
                if not good:
                    raise
                self._held = error
        if len(self._assigned) == 0:
            return []
        return good

    def _judge(self, message: Message, *, whole: bool) -> None:
        error = message.error()
        assert error is not None
        if _UNKNOWN_PROTOCOL in error.str():
            self._protocol = "classic"
            self._join_again()
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:
            self._assigned.clear()  # it joins again by itself
        elif message.topic() is not None and message.partition() is not None and message.partition() >= 0:
            partition = Partition(message.topic() or "", message.partition() or 0)
            raise mishap(message, partition, self._next.get(partition, 0), self._cluster)
        elif whole and not error.retriable():
            raise failure(error, "read records", entity=self._group)

    def _by_partition(self, messages: list[Message]) -> list[Fetched]:
        table = incoming(messages)
        topics = [message.topic() for message in messages]
        numbers = table["partition"].to_numpy()
        fetched = []
        for topic in dict.fromkeys(topics):
            of_topic = np.fromiter((name == topic for name in topics), bool, len(topics))
            for number in np.unique(numbers[of_topic]).tolist():
                partition = Partition(topic, number)
                if partition not in self._assigned:
                    continue
                rows = np.flatnonzero(of_topic & (numbers == number))
                records = table if len(rows) == len(table) else table.take(rows)
                fetched.append(Fetched(partition, records, self._assigned[partition]))
                self._next[partition] = fetched[-1].next
        return fetched


def _not_ours(partition: Partition, group: str) -> FencedError:
    return FencedError(
        f"Partition {partition.number} does not belong to this member of {group!r}.",
        entity=partition.topic,
        safe="Nothing of this call was committed; its new reader gets what was not.",
        remedy="Drop what was fetched of it.",
    )
