"""Configurations made for Debezium, before Debezium's own judges: Connect's validation, and the engine that runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo

from bitvelocity.capture.debezium import Form
from bitvelocity.flow import DebeziumWish, Project, debezium_config, open_project, prepare
from bitvelocity.oltp import connect
from bitvelocity.templates import copy_project

FORMS: tuple[Form, ...] = ("server", "connect", "strimzi")
UNDECLARED = {"transforms.unwrap.replace.null.with.default"}
"""Debezium reads it (test_flat_rows would fail without), and does not declare it."""
SECRET = {"DEBEZIUM_PASSWORD": "of-the-test"}
Check = Callable[..., Any]
Run = Callable[..., list[dict[str, Any]]]

ORDER = """
insert into orders (order_id, customer_id, status, subtotal, total_amount, currency, created_at)
values (gen_random_uuid(), %s, 'PENDING', 19.90, 19.90, 'USD', %s) returning order_id, created_at
"""
CUSTOMER = """
insert into customers (customer_number, name, email, age_band) values (1, 'Ann', 'ann@example.org', null)
returning customer_id
"""


@pytest.fixture
def shop(over_tcp: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The commerce project, its tables and its publication, in the database of the test."""
    copy_project("commerce", open_folder / "shop")
    monkeypatch.setenv("BITVELOCITY_DSN", over_tcp)
    project = open_project(open_folder / "shop")
    prepare(project, over_tcp)
    return project


def made(project: Project, form: Form, **more: Any) -> str:
    return debezium_config(project, DebeziumWish(form=form, **more))


def as_server_does(text: str) -> dict[str, str]:
    """What Debezium Server hands to its engine: prefixes taken off, formats given to the converters, ${NAME} replaced."""
    lines = [line.partition("=") for line in text.splitlines() if line and not line.startswith("#")]
    said = {name: re.sub(r"\$\{(\w+)\}", lambda m: SECRET[m[1]], value) for name, _, value in lines}
    engine = {}
    for name, value in said.items():
        match name.removeprefix("debezium.").split(".", 1):
            case ["source", rest]:
                engine[rest] = value
            case ["transforms", *rest]:
                engine[".".join(["transforms", *rest])] = value
            case ["format", "key" | "value"] | ["sink", _]:
                pass
            case ["format", rest] if rest.startswith(("key.", "value.")):
                part, option = rest.split(".", 1)
                engine[f"{part}.converter.{option}"] = value
            case ["format", rest]:
                engine |= {f"{part}.converter.{rest}": value for part in ("key", "value", "header")}
            case _:
                pytest.fail(f"Debezium Server has no {name}")
    return engine


def test_all_forms_pass_the_validation_of_connect(shop: Project, check_debezium: Check) -> None:
    """The worker's own: it resolves the password, connects to the database, asks connector, transform and converters."""
    configs: dict[tuple[Form, bool], Any] = {}
    for unwrap in (False, True):
        texts = {form: made(shop, form, unwrap=unwrap) for form in FORMS}
        assert all("of-the-test" not in text for text in texts.values())
        document = json.loads(texts["connect"])
        configs["connect", unwrap] = {"name": document["name"], **document["config"]}
        configs["server", unwrap] = {"name": "kafka", **as_server_does(texts["server"])}
        configs["strimzi", unwrap] = texts["strimzi"]
    told = check_debezium(*configs.values(), env=SECRET)
    for which, verdict in zip(configs, told["checked"], strict=True):
        assert verdict["errors"] == {}, which
        left = [name for name in verdict["unknown"] if not name.startswith("header.converter.")]
        assert set(left) <= UNDECLARED, f"{which}: names that Debezium passes over"


def test_the_judge_can_say_no(shop: Project, check_debezium: Check) -> None:
    """Wrong values, a wrong password, and a name that nobody knows are all seen."""
    config = {"name": "x", **json.loads(made(shop, "connect"))["config"]}
    wrong = {"decimal.handling.mode": "dubble", "database.server.name": "orders", "topic.prefix": "a b"}
    refused, kept_out = check_debezium(
        {**config, **wrong}, {**config, "database.password": "${env:OTHER}"}, env={**SECRET, "OTHER": "guess"}
    )["checked"]
    assert {"decimal.handling.mode", "topic.prefix"} <= set(refused["errors"])
    assert refused["unknown"] == ["database.server.name"]
    assert "password authentication failed" in str(kept_out["errors"])


def events(project: Project, run: Run, meanwhile: Callable[[], None], *, unwrap: bool = False) -> list[dict[str, Any]]:
    """What the engine gives under the configuration of Debezium Server, until the message `end`."""
    engine = as_server_does(made(project, "server", unwrap=unwrap))
    del engine["offset.storage.file.filename"]
    found = run({**engine, "peer.until": "end"}, "events", dsn=project.settings.database.dsn, meanwhile=meanwhile)
    assert "null" not in {event["value"] for event in found}, "a tombstone is no text"
    return [{**event, **{part: event[part] and json.loads(event[part]) for part in ("key", "value")}} for event in found]


def of(found: list[dict[str, Any]], topic: str) -> list[dict[str, Any]]:
    return [event for event in found if event["topic"] == topic]


def only(row: tuple[Any, ...] | None) -> Any:
    assert row
    return row[0]


@pytest.mark.every_postgres
def test_a_partitioned_table_comes_whole(shop: Project, over_tcp: str, run_debezium: Run) -> None:
    """As the seed meant it: a snapshot without doubles, and changes after it, through the root; one key for an order."""
    with connect(over_tcp, autocommit=True) as connection:
        connection.execute("alter table customers alter column age_band set default 'unknown'")
        customer = only(connection.execute(CUSTOMER).fetchone())
        order = only(connection.execute(ORDER, [customer, "now"]).fetchone())

        def meanwhile() -> None:
            connection.execute("update orders set status = 'CONFIRMED' where order_id = %s", [order])
            connection.execute("delete from orders where order_id = %s", [order])
            connection.execute("truncate payments")
            connection.execute("select pg_logical_emit_message(true, 'bv.audit', '{\"user\":\"ann\"}')")
            connection.execute("select pg_logical_emit_message(true, 'end', '')")

        found = events(shop, run_debezium, meanwhile)
    assert {event["topic"] for event in found} <= {
        "commerce.public.customers", "commerce.public.orders", "commerce.public.payments", "commerce.message",
        "__debezium-heartbeat.commerce",
    }  # fmt: skip
    (ann,) = of(found, "commerce.public.customers")
    assert ann["value"]["after"]["age_band"] is None, "the column's default is no value of this row"
    orders = of(found, "commerce.public.orders")
    assert [event["value"] and event["value"]["op"] for event in orders] == ["r", "u", "d", None]
    assert [event["key"] for event in orders] == [{"order_id": str(order)}] * 4
    assert orders[1]["value"]["after"]["total_amount"] == "19.90", "money is exact"
    assert [event["value"]["op"] for event in of(found, "commerce.public.payments")] == ["t"]
    told = [event["key"]["prefix"] for event in of(found, "commerce.message")]
    # the update and the delete say nothing of who acts, so the guard of orders tells of the session
    assert told == ["bv.audit", "bv.audit", "bv.audit", "end"]


def test_flat_rows(shop: Project, over_tcp: str, run_debezium: Run) -> None:
    """--unwrap: rows with what the envelope said, deletes that can be seen, NULL that stays NULL."""
    with connect(over_tcp, autocommit=True) as connection:
        connection.execute("alter table customers alter column age_band set default 'unknown'")

        def meanwhile() -> None:
            customer = only(connection.execute(CUSTOMER).fetchone())
            connection.execute("delete from customers where customer_id = %s", [customer])
            connection.execute("select pg_logical_emit_message(true, 'end', '')")

        found = events(shop, run_debezium, meanwhile, unwrap=True)
    rows = [event["value"] for event in of(found, "commerce.public.customers")]
    assert [row and (row["__op"], row["__deleted"]) for row in rows] == [("c", "false"), ("d", "true"), None]
    assert rows[0]["age_band"] is None, "the column's default is no value of this row"
    assert rows[0]["__lsn"] < rows[1]["__lsn"]


def test_the_place_of_the_source(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket becomes localhost, the password stays where it is, TLS is told."""
    forms: dict[str, tuple[str, str, str]] = {
        "host=/run/postgresql user=u dbname=d": ("localhost", "5432", "prefer"),
        "postgresql://u:s3cret@db.example:6000/d?sslmode=verify-full": ("db.example", "6000", "verify-full"),
    }
    for dsn, expected in forms.items():
        monkeypatch.setenv("BITVELOCITY_DSN", dsn)
        text = made(open_project(shop.root), "connect", password_from="file:/etc/bv.properties:password")
        config = json.loads(text)["config"]
        assert (config["database.hostname"], config["database.port"], config["database.sslmode"]) == expected
        assert config["database.password"] == "${file:/etc/bv.properties:password}"
        assert "s3cret" not in text
        assert conninfo.conninfo_to_dict(dsn)["user"] == config["database.user"]


