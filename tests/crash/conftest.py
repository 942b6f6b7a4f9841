"""Arenas for the tests of this folder: one for a whole module where a matrix shares it, or one for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.conftest import fresh_database
from tests.crash.arena import Arena

from bitvelocity.oltp import Server


@pytest.fixture(scope="module")
def shared_arena(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Arena]]:
    """The module's arena, already running; a new one when the last verdict in it was bad."""
    with ExitStack() as stack:
        arenas: list[Arena] = []

        def current() -> Arena:
            if not arenas or arenas[-1].spoiled:
                dsn = stack.enter_context(fresh_database(postgres))
                arenas.append(stack.enter_context(Arena(tmp_path_factory.mktemp("arena"), dsn)))
                arenas[-1].begin()
            return arenas[-1]

        yield current


@pytest.fixture
def arena(database: str, tmp_path: Path) -> Iterator[Arena]:
    """An arena of the test's own; nothing runs in it yet."""
    with Arena(tmp_path, database) as made:
        yield made
