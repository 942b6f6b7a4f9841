"""Arenas for the tests of this folder: one for a whole module where a matrix shares it, or one for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.conftest import fresh_database
from tests.crash.arena import Arena

from bitvelocity.oltp import Server


@pytest.fixture(scope="module")
def shared_arena(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Arena]]:
    """The module's arena, already running; a new one when the last verdict in it was bad."""
    with arenas(postgres, tmp_path_factory, "") as current:
        yield current


@pytest.fixture(scope="module")
def copying_arena(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Arena]]:
    """One that reads through COPY only, as a backlog is read."""
    with arenas(postgres, tmp_path_factory, 'feed = "copy"') as current:
        yield current


@contextmanager
def arenas(postgres: Server, folders: pytest.TempPathFactory, settings: str) -> Iterator[Callable[[], Arena]]:
    """What gives the arena in use, or a new one."""
    with ExitStack() as stack:
        made: list[Arena] = []

        def current() -> Arena:
            if not made or made[-1].spoiled:
                dsn = stack.enter_context(fresh_database(postgres))
                made.append(stack.enter_context(Arena(folders.mktemp("arena"), dsn, settings=settings)))
                made[-1].begin()
            return made[-1]

        yield current


@pytest.fixture
def arena(database: str, tmp_path: Path) -> Iterator[Arena]:
    """An arena of the test's own; nothing runs in it yet."""
    with Arena(tmp_path, database) as made:
        yield made
