"""The real servers of the transports, one of each for the run, as `bv up --with` starts them.

Where a server's programs are missing, tests that ask for it are skipped by name; where BITVELOCITY_NEEDS names it, as in
CI (`BITVELOCITY_NEEDS=java,kafka`), they fail instead.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bitvelocity.errors import BusError
from bitvelocity.streams.servers import MISSING, SERVERS, LocalServer, Recipe


def needed(name: str) -> bool:
    """BITVELOCITY_NEEDS names it: it must not be skipped."""
    return name in os.environ.get("BITVELOCITY_NEEDS", "").split(",")


@contextmanager
def running(name: str) -> Iterator[LocalServer]:
    """A server of that name with fresh data, stopped afterwards."""
    if name not in SERVERS:
        pytest.skip(f"there is no engine for {name} yet")
    with started(name, SERVERS[name]()) as server:
        yield server


@contextmanager
def started(name: str, recipe: Recipe) -> Iterator[LocalServer]:
    """A server of this recipe with fresh data, stopped afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"bv-{name}-", ignore_cleanup_errors=True) as folder:
        server = begun(name, LocalServer(recipe, Path(folder)))
        try:
            yield server
        finally:
            server.stop()


def begun(name: str, server: LocalServer) -> LocalServer:
    """The server, started; a test that needs one whose programs are missing is skipped."""
    try:
        return server.start()
    except BusError as error:
        if error.code != MISSING or needed(name):
            raise
        pytest.skip(f"{name} cannot be run here: {error.what}")


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[LocalServer]:
    """Kafka, for the run."""
    with running("kafka") as server:
        yield server


@pytest.fixture(scope="session")
def nats_server() -> Iterator[LocalServer]:
    """NATS with JetStream, for the run."""
    with running("nats") as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[LocalServer]:
    """RabbitMQ with its stream plugin, for the run."""
    with running("rabbitmq") as server:
        yield server
