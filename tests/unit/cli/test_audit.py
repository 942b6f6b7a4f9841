"""`bitvelocity audit`: a real trail, asked in every way."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitvelocity.flow import open_project, prepare
from bitvelocity.oltp import audit, connect

Run = Callable[..., subprocess.CompletedProcess[str]]
ENTITIES = """
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Numeric

class Order(Entity, table="orders", audit_trail="sync", retention="1 year"):
    region: Annotated[str, Key()]
    number: Annotated[int, Key()]
    total: Annotated[Decimal, Numeric(30, 2)]

class Plain(Entity, table="plain"):
    id: Annotated[int, Key()]
"""
Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def project(database: str, open_folder: Path) -> Path:
    """Two orders, written by two people and a session that did not say who it is."""
    (open_folder / "entities.py").write_text(ENTITIES)
    (open_folder / "bitvelocity.toml").write_text(f'[database]\ndsn = "{database}"\n')
    prepare(open_project(open_folder), database)
    with connect(database) as connection:
        with connection.transaction(), audit(connection, user="alice", correlation_id="c-1", source="shop"):
            connection.execute("insert into orders (region, number, total) values ('eu', 1, 12345678901234567890.10), ('us', 1, 2)")
        with connection.transaction(), audit(connection, user="bob", correlation_id="c-2"):
            connection.execute("update orders set total = 12345678901234567890.20 where region = 'eu'")
        with connection.transaction():
            connection.execute("delete from orders where region = 'us'")
    return open_folder


@pytest.fixture
def ask(project: Path, bitvelocity: Run) -> Ask:
    def run(*words: str) -> list[dict[str, Any]]:
        done = bitvelocity("audit", *words, "--json", cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
        return rows

    return run


def test_every_question(ask: Ask, project: Path, bitvelocity: Run) -> None:
    rows = ask("orders")
    assert [row["operation"] for row in rows] == ["INSERT", "INSERT", "UPDATE", "DELETE"]
    assert rows[2]["old"]["total"] == "12345678901234567890.10", "money to the last cent"
    assert rows[3]["source"].startswith("fallback:")
    assert [row["operation"] for row in ask("orders", "eu", "1")] == ["INSERT", "UPDATE"]
    assert [row["operation"] for row in ask("orders", "us")] == ["INSERT", "DELETE"]
    assert [row["audit_id"] for row in ask("orders", "--user", "bob")] == [rows[2]["audit_id"]]
    assert len(ask("orders", "--correlation-id", "c-1")) == 2
    assert len(ask("orders", "--since", "yesterday", "--until", "tomorrow")) == 4
    assert ask("orders", "--until", "2020-01-01") == []
    assert [row["audit_id"] for row in ask("orders", "--limit", "1")] == [rows[3]["audit_id"]], "the last one"
    text = bitvelocity("audit", "orders", cwd=project).stdout
    assert "total 12345678901234567890.10 → 12345678901234567890.20" in text
    assert "(session)" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing"], "There is: orders, plain"),
        (["plain"], 'audit_trail="cdc"'),
        (["orders", "eu", "1", "2"], "(region, number)"),
        (["orders", "eu", "one"], "as the table has them"),
        (["orders", "--since", "soon"], "as the table has them"),
    ],
)
def test_questions_that_have_no_answer(project: Path, bitvelocity: Run, words: list[str], says: str) -> None:
    done = bitvelocity("audit", *words, cwd=project)
    assert done.returncode == 1
    assert says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
