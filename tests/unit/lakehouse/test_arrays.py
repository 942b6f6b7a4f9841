"""Printed arrays to lists: any text in any element, NULLs told from the text NULL, and what is no list left alone."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitvelocity.contracts import Type
from bitvelocity.contracts.arrow import silver_type
from bitvelocity.lakehouse.arrays import elements, is_list
from bitvelocity.lakehouse.casts import cast
from bitvelocity.lakehouse.columns import Values

ELEMENTS = st.lists(
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), st.sampled_from(["NULL", '"', "\\", "{", ","]))
)
PLAIN = set("abcdefghijklmnopqrstuvwxyzé'()[]:.-")


def column(*values: str | None, chunks: int = 1) -> Values:
    size = max(1, -(-len(values) // chunks))
    return pa.chunked_array([pa.array(values[at : at + size], pa.string_view()) for at in range(0, len(values), size)], pa.string_view())


def printed(elements: list[str | None]) -> str:
    """As PostgreSQL prints an array of text."""
    return "{" + ",".join(map(_element, elements)) + "}"


def _element(text: str | None) -> str:
    if text is None:
        return "NULL"
    if text and set(text) <= PLAIN and text.lower() != "null":
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@settings(deadline=None)
@given(st.lists(ELEMENTS, min_size=1, max_size=6), st.integers(1, 3))
def test_elements_come_out_as_they_went_in(values: list[list[str | None]], chunks: int) -> None:
    found, counts = elements(column(*map(printed, values), chunks=chunks))
    assert counts.tolist() == [len(value) for value in values]
    assert found.to_pylist() == [element for value in values for element in value]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), ELEMENTS.map(printed), st.sampled_from(["{{1},{2}}", "[0:1]={1,2}", ""])), min_size=1))
def test_what_is_no_list_is_null_and_told(values: list[str | None]) -> None:
    of = Type("array", item=Type("text"))
    typed, wrong = cast(column(*values), of, silver_type(of))
    typed.validate(full=True)
    lists = [value is not None and value[:1] == "{" and value[:2] != "{{" for value in values]
    assert [value is not None for value in typed.to_pylist()] == lists
    told = [value is not None and not fits for value, fits in zip(values, lists, strict=True)]
    assert (wrong.tolist() if wrong is not None else [False] * len(values)) == told


@settings(deadline=None)
@given(st.lists(st.one_of(ELEMENTS, st.text('{}",\\\\1a', min_size=1, max_size=6)), min_size=1, max_size=6))
def test_what_is_no_array_harms_no_other_value(values: list[list[str | None] | str]) -> None:
    of = Type("array", item=Type("text"))
    typed, _ = cast(column(*(value if isinstance(value, str) else printed(value) for value in values)), of, silver_type(of))
    typed.validate(full=True)
    found = zip(values, typed.to_pylist(), strict=True)
    assert all(value == read for value, read in found if not isinstance(value, str))


@pytest.mark.parametrize(("item", "value", "fits"), [
    (Type("decimal", 10, 2), "{1.50,NULL}", True),
    (Type("decimal", 10, 2), "{1.50,NaN}", False),
    (Type("timestamptz"), '{"2024-01-01 00:00:00+00"}', True),
    (Type("timestamptz"), '{"2024-01-01 00:00:00+00",infinity}', False),
    (Type("int32"), "{}", True),
    (Type("bytes"), '{"\\\\x00"}', True),
])  # fmt: skip
def test_one_element_that_does_not_fit_takes_the_value_with_it(item: Type, value: str, fits: bool) -> None:
    of = Type("array", item=item)
    typed, wrong = cast(column(value, "{NULL}", None), of, silver_type(of))
    assert typed.type == silver_type(of)
    assert (typed[0].as_py() is not None) == fits
    assert typed.to_pylist()[1:] == [[None], None]
    assert (wrong.tolist() if wrong is not None else None) == (None if fits else [True, False, False])


def test_nothing_is_no_list() -> None:
    assert is_list(column("", "{", "{}")).tolist() == [False, False, True]
