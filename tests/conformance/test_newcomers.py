"""The page's programs for NATS and RabbitMQ, over the routes that `init --with` writes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.shown import shown, with_values

from bitvelocity.flow import Pipeline, Project, open_project, prepare
from bitvelocity.oltp import connect
from bitvelocity.streams.servers import LocalServer
from bitvelocity.templates import copy_project

PAGE = "how-to/read-topics.md"
PATIENCE_S = 60.0
ORDER = """with customer as (insert into customers (customer_number, name, email) values (1, 'Ada', 'ada@example.com') returning customer_id)
           insert into orders (customer_id, subtotal, total_amount) select customer_id, 19.90, 19.90 from customer"""


@pytest.fixture
def shop(open_folder: Path, database: str, nats_server: LocalServer, rabbitmq_server: LocalServer) -> Project:
    folder = open_folder / "shop"
    copy_project("commerce", folder, ("nats", "rabbitmq"))
    file = folder / "bitvelocity.toml"
    slot = f'[capture]\nslot = "new_{open_folder.name.lower().replace("-", "_")}"'
    where = f'[streams.nats]\nurl = "{nats_server.address}"\n[streams.rabbitmq]\nurl = "{rabbitmq_server.address}"\n{slot}'
    settings = file.read_text().replace('dsn = ""', f'dsn = "{database}"')
    file.write_text(settings.replace("# Routes:", f"{where}\n# Routes:"))
    project = open_project(folder)
    prepare(project, database)
    return project


@contextmanager
def program(heading: str, **values: str) -> Iterator[Iterator[str]]:
    """The lines that the page's program prints."""
    text = with_values(shown(PAGE, heading, "python"), **values)
    running = subprocess.Popen([sys.executable, "-W", "error", "-c", text], stdout=subprocess.PIPE, text=True)
    watch = threading.Timer(PATIENCE_S, running.kill)
    watch.start()
    try:
        yield iter(running.stdout or ())
    finally:
        watch.cancel()
        running.kill()
        running.communicate()


def test_caches_hear_of_updates_and_new_orders_are_work(
    shop: Project, database: str, nats_server: LocalServer, rabbitmq_server: LocalServer
) -> None:
    amqp = rabbitmq_server.address.partition("?")[0]  # as `up` shows it
    with program("NATS", NATS=nats_server.address) as hints, Pipeline(shop) as pipeline:
        assert next(hints) == "listening\n"
        pipeline.connect(database)
        pipeline.start()
        with connect(database, autocommit=True) as connection:
            connection.execute(ORDER)
            connection.execute("update orders set status = 'CONFIRMED', total_amount = 17.90")
            (end,) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone() or (0,)
        while pipeline.seen < int(end):
            pipeline.step(0.1)
        pipeline.finish()
        assert pipeline.trouble is None
        kind, key, row = next(hints).split(" ", 2)
        with program("RabbitMQ", RABBITMQ=amqp) as work:
            _, order, amount = next(work).split()
    assert kind == "bitvelocity.change.update"
    assert order in key
    assert '"total_amount":"17.90"' in row
    assert amount == "19.90"
