"""What a person is told to change once topics were copied."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from click.testing import CliRunner
from tests.unit.flow.test_outlets import ROUTE, routed

from bitvelocity.cli.app import cli
from bitvelocity.flow import Migration, Move, Project, open_bus

Make = Callable[[str], Project]
STREAMS = '[streams]\nbus = "kafka"\nrun = ["kafka"]\n'
NATS = '[streams.nats]\nurl = "nats://127.0.0.1:9"\n'


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ((STREAMS, ROUTE), ["[streams]", 'bus = "nats"', 'run = ["nats"]']),
        ((STREAMS, NATS, ROUTE), ["[streams]", 'bus = "nats"']),
        ((STREAMS, ROUTE, 'bus = "kafka"\n'), ["[streams]", 'bus = "nats"', 'run = ["nats"]', '[[routes]] feed: bus = "nats"']),
        ((NATS, ROUTE, 'bus = "kafka"\n'), ['[[routes]] feed: bus = "nats"']),
    ],
    ids=["ours", "theirs", "route", "only the route"],
)
def test_every_line_that_is_to_change_is_told(make_project: Make, sections: tuple[str, ...], said: list[str]) -> None:
    project = routed(make_project(""), *sections)
    with closing(open_bus(project.settings, "embedded")) as bus:
        assert list(Migration(project, Move(source="kafka", target="nats"), bus, bus).to_change()) == said


def test_nothing_was_there(make_project: Make) -> None:
    project = routed(make_project(""), NATS)
    done = CliRunner().invoke(cli, ["bus", "migrate", "--to", "nats", "--project", str(project.root)])
    assert done.output == "There is nothing to copy.\n", done.exception
