"""Arenas for the tests of this folder: one for a whole module where a matrix shares it, or one for a test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.conftest import fresh_database
from tests.crash.arena import Arena

from bitvelocity.oltp import Server


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The whole matrix over the newest of the servers that are tested, each third moment over the others: the steps are
    ours, the server is only another reader's. `bench/crash_matrix.py --pg` has all of them."""
    strikes = [item for item in items if "test_killed" in item.name and item.path.name == "test_matrix.py"]
    majors = {int(found.group(1)) for item in strikes if (found := MAJOR.search(item.name))}
    older = [item for item in strikes if majors and f"[pg{max(majors)}" not in item.name]
    left = {item.nodeid for number, item in enumerate(older) if number % 3}
    if left:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left])
        items[:] = [item for item in items if item.nodeid not in left]


MAJOR = re.compile(r"\[pg(\d+)")


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
