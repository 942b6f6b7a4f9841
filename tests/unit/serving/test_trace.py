"""The life of a row: every change with its author, through changes of key and death, to gold."""

from __future__ import annotations

import json
from datetime import date
from importlib import import_module
from io import StringIO

import pytest
from rich.console import Console

from bitvelocity.cli.output import plain
from bitvelocity.cli.trace_view import show_trace
from bitvelocity.errors import QueryError
from bitvelocity.flow import Project
from bitvelocity.lakehouse import LakeReader
from bitvelocity.serving import Trace, trace

ADA = "0b9c1f0e-3d5c-4f6e-9a57-1f1d2a3b4c5d"


def follow(reader: LakeReader, project: Project, entity: str, *key: str) -> Trace:
    return trace(reader, project.specs, project.models, entity, *key)


def test_who_and_why(reader: LakeReader, project: Project) -> None:
    life = follow(reader, project, "visits", "ab", "2024-02-29")
    assert [(c.operation, c.user, c.source) for c in life.changes] == [
        ("INSERT", "anna", "desk"), ("UPDATE", "ben", "desk"), ("DELETE", None, None),
    ]  # fmt: skip
    assert life.changes[1].changed == {"note": (None, "loud")}
    assert life.current is None, "it has another key now"
    assert life.gold == ()


def test_a_key_that_was_taken_over(reader: LakeReader, project: Project) -> None:
    life = follow(reader, project, "visits", "ab", "2024-03-01")
    assert [c.operation for c in life.changes] == ["UPDATE"]
    assert life.current is not None
    assert life.current["note"] == "loud"


def test_more_changes_than_are_shown(reader: LakeReader, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = follow(reader, project, "visits", "ab", "2024-02-29")
    assert not everything.more
    monkeypatch.setattr(import_module("bitvelocity.serving.trace"), "MOST_CHANGES", 2)
    cut = follow(reader, project, "visits", "ab", "2024-02-29")
    assert cut.changes == everything.changes[:2]
    assert cut.more
    text = StringIO()
    show_trace(Console(file=text, width=200), cut)
    assert "these are the first 2" in text.getvalue()


def test_deleted_and_back(reader: LakeReader, project: Project) -> None:
    life = follow(reader, project, "visits", "abcd", "2024-02-29")
    assert [(c.operation, c.user) for c in life.changes] == [("INSERT", "anna"), ("DELETE", "carl"), ("INSERT", "carl")]
    assert life.current is not None
    assert life.current["note"] == "again"


def test_to_gold_and_what_stands_on_it(reader: LakeReader, project: Project) -> None:
    life = follow(reader, project, "visits", "abcd", "2024-02-29")
    assert [(stand.model, stand.through) for stand in life.gold] == [
        ("gold.visit_facts", "silver.visits"), ("gold.per_day", "gold.visit_facts"),
    ]  # fmt: skip
    assert life.gold[1].rows == ({"day": date(2024, 2, 29), "visits": 1},)


def test_through_a_join(reader: LakeReader, project: Project) -> None:
    life = follow(reader, project, "people", ADA)
    facts = life.gold[0]
    assert (facts.model, facts.through) == ("gold.visit_facts", "silver.people")
    assert {row["place"].strip() for row in facts.rows} == {"ab", "abcd"}


def test_one_correlation_id_per_transaction(reader: LakeReader, project: Project) -> None:
    ids = [c.correlation_id for c in follow(reader, project, "visits", "ab", "2024-02-29").changes]
    assert ids[0] != ids[1]
    assert ids[2] is None, "nobody said why, and nothing is made up"


@pytest.mark.parametrize("spelled", [ADA.upper(), f"{{{ADA}}}"])
def test_a_key_as_people_write_it(reader: LakeReader, project: Project, spelled: str) -> None:
    assert follow(reader, project, "people", spelled).current
    assert follow(reader, project, "visits", "abcd").key == {"place": "abcd", "day": date(2024, 2, 29)}


@pytest.mark.parametrize(
    ("words", "what", "remedy"),
    [
        (["visitors", "x"], "no entity 'visitors'", "people, visits, log"),
        (["visits", "ab"], "2 rows of visits begin with this key", "(place, day)"),
        (["visits", "ab", "2023-01-01"], "has the key ab, 2023-01-01", "(place, day)"),
        (["visits", "ab", "someday"], "someday", "as the table has it"),
        (["visits", "a", "b", "c"], "3 values for a key of 2", "(place, day)"),
        (["log", "a line"], "log has no key", "bronze.log"),
    ],
)
def test_mistakes(reader: LakeReader, project: Project, words: list[str], what: str, remedy: str) -> None:
    with pytest.raises(QueryError) as caught:
        follow(reader, project, *words)
    assert what in caught.value.what
    assert remedy in str(caught.value.remedy)


def test_as_json(reader: LakeReader, project: Project) -> None:
    told = json.loads(json.dumps(follow(reader, project, "visits", "abcd").as_dict(), default=plain))
    assert told["key"] == {"place": "abcd", "day": "2024-02-29"}
    assert [change["position"].count("/") for change in told["changes"]] == [1, 1, 1]
