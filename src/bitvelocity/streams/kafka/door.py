"""The first answer of a cluster: what keeps us out for good is told at once, and in words.

The client itself would try a wrong password again until the call's time is over, and then say that it got no answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from ...errors import BusError, BusLostError
from .client import LOG, explained, failure

SLICE_S = 0.3
CLOSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED})
"""What a further attempt cannot change."""


class Door:
    """Makes administrators of a cluster, and waits for the first answer that one of them gets."""

    def __init__(self, config: Mapping[str, Any], patience: float) -> None:
        self._config, self._patience = dict(config), patience
        self._refused: KafkaError | None = None
        self._entered = False

    def admin(self) -> AdminClient:
        settings: dict[str, Any] = {**self._config, "error_cb": self._note}
        with explained("be configured"):
            return AdminClient(settings, logger=LOG)

    def enter(self, admin: AdminClient) -> None:
        """Return once the cluster has answered; that is asked once."""
        deadline = time.monotonic() + self._patience
        while not self._entered:
            try:
                admin.list_topics(timeout=SLICE_S)
                self._entered = True
            except KafkaException as error:
                admin.poll(0)  # this is when it tells of its errors
                if self._refused is not None:
                    raise self._closed() from error
                if time.monotonic() > deadline:
                    raise self._silent(error) from error

    def _note(self, error: KafkaError) -> None:
        if error.code() in CLOSED:
            self._refused = error

    def _closed(self) -> BusError:
        refused, self._refused = self._refused, None
        return failure(refused, "let us in")

    def _silent(self, error: KafkaException) -> BusError:
        found = failure(error, "answer")
        if isinstance(found, BusLostError) and "SSL" not in str(self._config.get("security.protocol", "")).upper():
            found.remedy = (
                "Does it run, and can it be reached from here? It is tried again. A port that speaks TLS is silent too: "
                'then [streams.kafka.client] needs security.protocol = "SSL" or "SASL_SSL".'
            )
        return found
