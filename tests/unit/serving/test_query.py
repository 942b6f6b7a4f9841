"""A query reads the lake at one watermark, and nothing else; it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitvelocity.errors import QueryError
from bitvelocity.flow import Project
from bitvelocity.lakehouse import LakeReader
from bitvelocity.serving import ask, shut_in, table_sizes

FORBIDDEN = (
    "select * from read_csv('/etc/passwd')",
    "select * from read_text('/etc/hostname')",
    "select * from glob('/etc/*')",
    "from '/etc/passwd'",
    "from 'https://example.org/x.parquet'",
    "select * from query('from read_text(''/etc/hostname'')')",
)
WRITING = (
    "insert into silver.people values (1)",
    "drop view silver.people",
    "create or replace view gold.per_day as select 1",
    "copy silver.people to 'people.csv'",
    "explain analyze copy silver.people to '{lake}/people.parquet'",
    "EXPLAIN (ANALYZE, FORMAT json) copy silver.people to '{lake}/people.parquet'",
    "explain /* ( */ analyze copy silver.people to '{lake}/people.parquet'",
    "set enable_external_access = true",
    "reset allowed_directories",
    "attach ':memory:' as other",
    "install httpfs",
    "pragma database_list",
    "begin",
    "checkpoint",
    "call enable_profiling()",
)


@pytest.fixture
def shut(reader: LakeReader, project: Project) -> LakeReader:
    """The reader as `bitvelocity query` uses it."""
    shut_in(reader, project.lake)
    return reader


def test_rows_and_more(shut: LakeReader) -> None:
    assert ask(shut, "select name from silver.people order by 1").as_dicts() == [{"name": "Ada"}, {"name": "Ben"}]
    answer = ask(shut, "select name from silver.people order by 1", limit=1)
    assert (answer.as_dicts(), answer.more) == ([{"name": "Ada"}], True)
    assert ask(shut, "from silver.people", limit=2).more is False


@pytest.mark.parametrize(
    "query",
    ["with x as (select 1 as a) from x", "values (1)", "describe silver.people", "show all tables", "explain from gold.per_day",
     "explain analyze from gold.per_day", "summarize silver.people", "select 1 -- ; select 2", " select 1 ; "],
)  # fmt: skip
def test_what_reads_may_run(shut: LakeReader, query: str) -> None:
    assert ask(shut, query).rows.num_rows


@pytest.mark.parametrize("query", FORBIDDEN)
def test_no_other_file_is_read(shut: LakeReader, query: str) -> None:
    with pytest.raises(QueryError) as caught:
        ask(shut, query)
    assert caught.value.remedy


@pytest.mark.parametrize("query", WRITING)
def test_nothing_is_written(shut: LakeReader, project: Project, query: str) -> None:
    before = sorted(project.lake.rglob("*"))
    with pytest.raises(QueryError) as caught:
        ask(shut, query.format(lake=project.lake))
    assert caught.value.remedy
    assert sorted(project.lake.rglob("*")) == before
    assert ask(shut, "select visits from gold.per_day order by day").as_dicts()


def test_variables_of_the_program_are_no_tables(shut: LakeReader) -> None:
    for name in ("sql", "reader", "answer", "statements"):
        with pytest.raises(QueryError, match="does not exist"):
            ask(shut, f"select * from {name}")


def test_a_wide_sort_may_use_the_disk(shut: LakeReader, project: Project) -> None:
    query = "select count(*) as n from (select random() as r from range(3000000) order by r)"
    assert ask(shut, query).as_dicts() == [{"n": 3_000_000}]
    assert not list(Path(project.lake / ".scratch").glob("*.tmp"))


@pytest.mark.parametrize(("query", "what"), [("", "nothing to run"), ("-- only a word", "nothing"), ("select 1; select 2", "this has 2")])
def test_one_statement(shut: LakeReader, query: str, what: str) -> None:
    with pytest.raises(QueryError, match=what):
        ask(shut, query)


def test_sizes(reader: LakeReader) -> None:
    sizes = table_sizes(reader, [("bronze", "visits"), ("silver", "visits"), ("gold", "per_day"), ("bronze", "log")])
    assert {f"{size.layer}.{size.name}": size.rows for size in sizes} == {
        "bronze.visits": 6, "silver.visits": 2, "gold.per_day": 2, "bronze.log": 2,
    }  # fmt: skip
