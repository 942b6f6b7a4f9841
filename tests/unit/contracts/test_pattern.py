"""A pattern means the same in Python and PostgreSQL, or it is refused."""

import re

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitvelocity.contracts.patterns import check_pattern, whole
from bitvelocity.contracts.problems import Wrong

GOOD = [
    "[A-Z]{3}", r"\d{4}-\d{2}", r"[^@]+@[^@]+\.[^@]+", "a|b", "(?:ab)*c?", r"\s*\S+", r"x{2,5}", r"\\b", r"a\*b", "^a$",
    r"\(\?=x", "[a-z]+?b", r"\+\+",
]  # fmt: skip
BAD = [
    "(", "[a", "(?=x)", "(?<!x)", "(?P<n>x)", "(?i)x", r"(a)\1", r"\bx", r"x\Z", "[[:alpha:]]", "a++", "x{,3}", "***=x",
    "x{1,300}", r"\x41", "a{2}+",
]  # fmt: skip
VALUES = ["ABC", "ABC\n", "abc", "2026-11", "a@b.c", "a", "b", "ababc", " x", "xxx", "a*b", r"\b", "(?=x", "ab", "++", ""]


@pytest.mark.parametrize("regex", GOOD)
def test_shared_expressions_are_taken(regex: str) -> None:
    check_pattern(regex)


@pytest.mark.parametrize("regex", BAD)
def test_expressions_of_one_engine_are_refused(regex: str) -> None:
    with pytest.raises(Wrong) as caught:
        check_pattern(regex)
    assert caught.value.remedy


def test_postgresql_matches_what_python_matches(database: str) -> None:
    with psycopg.connect(database) as connection:
        for regex in GOOD:
            rows = connection.execute(
                "select value, value ~ %s from unnest(%s::text[]) as value", (whole(regex), VALUES)
            ).fetchall()
            assert rows == [(value, bool(re.compile(regex).fullmatch(value))) for value in VALUES], regex


PIECES = st.sampled_from(["a", "B", "7", ".", "[a-c]", "[^x]", r"\d", r"\w", r"\s", "(?:a|b)", "*", "+", "?", "{2}", "|", "(", ")", r"\."])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(PIECES, min_size=1, max_size=6), value=st.text("aB7.x b", max_size=5))
def test_what_is_taken_means_the_same_everywhere(database: str, pieces: list[str], value: str) -> None:
    regex = "".join(pieces)
    try:
        check_pattern(regex)
    except Wrong:
        return
    with psycopg.connect(database) as connection:
        row = connection.execute("select %s::text ~ %s", (value, whole(regex))).fetchone()
    assert row == (re.fullmatch(regex, value) is not None,), regex
