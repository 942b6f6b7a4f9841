"""Index terms are read as PostgreSQL reads them."""

import pytest

from bitvelocity.contracts.problems import Wrong
from bitvelocity.contracts.terms import Term, parse_term, split_name

COLUMNS = ("created_at", "Order No", "payload", "desc", "a desc")


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("created_at", Term(column="created_at")),
        ("created_at desc", Term(column="created_at", descending=True)),
        ("created_at ASC NULLS FIRST", Term(column="created_at", nulls="first")),
        ("created_at desc nulls last", Term(column="created_at", descending=True, nulls="last")),
        ("Order No", Term(column="Order No")),
        ('"Order No" desc', Term(column="Order No", descending=True)),
        ("desc", Term(column="desc")),
        ("a desc", Term(column="a desc")),
        ("payload jsonb_path_ops", Term(column="payload", operator_class="jsonb_path_ops")),
        ("lower(payload) desc", Term(expression="lower(payload)", descending=True)),
        ("(payload ->> 'a')", Term(expression="(payload ->> 'a')")),
    ],
)
def test_terms(text: str, term: Term) -> None:
    assert parse_term(text, COLUMNS) == term


def test_an_unknown_column_is_named_with_the_nearest() -> None:
    with pytest.raises(Wrong, match="no column 'creatd_at'") as caught:
        parse_term("creatd_at desc", COLUMNS)
    assert "created_at" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mood", (None, "mood")),
        ("sales.mood", ("sales", "mood")),
        ('sales."Order State"', ("sales", "Order State")),
        ('"a.b"', (None, "a.b")),
        ('"say ""hi"""', (None, 'say "hi"')),
    ],
)
def test_qualified_names(name: str, parts: tuple[str | None, str]) -> None:
    assert split_name(name) == parts
