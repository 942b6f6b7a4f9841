"""The name that a local server gives its cluster."""

from __future__ import annotations

import uuid

import pytest

from bitvelocity.streams.servers.kafka import cluster_id


def test_no_name_is_taken_for_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 64 began with a hyphen, and Kafka's tool refused it."""
    drawn = iter([uuid.UUID(bytes=bytes([0xF8] * 16)), uuid.UUID(bytes=bytes(16))])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert cluster_id() == "A" * 22
