"""Entities fit together, or one error says where they do not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bitvelocity.contracts import Column, EntitySpec, Index, Partition, Reference, Type, check_set, in_order
from bitvelocity.errors import DeclarationError

INT, MOMENT = Type("int64"), Type("timestamptz")


def spec(name: str, *to: str, **given: Any) -> EntitySpec:
    columns = (Column(name="id", type=INT), *(Column(name=f"{other}_id", type=INT) for other in to))
    references = tuple(
        Reference(columns=(f"{other}_id",), to=f"public.{other}", to_columns=("id",)) for other in to
    )
    made = EntitySpec(name=name, table=name, columns=columns, key=("id",), references=references, audit=False)
    return replace(made, **given)


def names(specs: tuple[EntitySpec, ...]) -> str:
    return " ".join(one.name for one in specs)


def test_the_order_is_the_declared_one_where_it_can_be() -> None:
    assert names(in_order([spec("c"), spec("a"), spec("b")])) == "c a b"
    assert names(in_order([spec("item", "order", "product"), spec("order", "customer"), spec("product"), spec("customer")])) == (
        "customer order product item"
    )


def test_a_cycle_is_broken_at_the_entity_declared_first() -> None:
    assert names(in_order([spec("a", "b"), spec("b", "c"), spec("c", "a"), spec("d", "a")])) == "c b a d"
    assert names(in_order([spec("a", "a")])) == "a"


def test_a_fitting_set() -> None:
    check_set([spec("a", "b"), spec("b", "a"), spec("c", "nowhere", managed=False)])
    check_set([spec("a", "b"), spec("b", columns=(Column(name="id", type=Type("int16")),))])


PARTITIONED = spec(
    "b",
    columns=(Column(name="id", type=INT), Column(name="at", type=MOMENT)),
    key=("id", "at"),
    partition=Partition(column="at"),
)


@pytest.mark.parametrize(
    ("specs", "what", "remedy"),
    [
        (lambda: [spec("a"), spec("a", table="x")], "the lake name 'a' is declared 2 times", "name="),
        (lambda: [spec("a"), spec("b", table="a")], "the table 'public.a' is declared 2 times", "table="),
        (lambda: [spec("a", "ordr"), spec("order")], "a.ordr_id: it references public.ordr", "did you mean 'public.order'"),
        (lambda: [spec("a", "b")], "which no entity declares", "managed=False"),
        (lambda: [spec("a", "b"), spec("b", columns=(Column(name="bid", type=INT),), key=("bid",))], "no column 'id'", "bid"),
        (lambda: [spec("a", "b"), spec("b", key=())], "does not identify one row", "unique there"),
        (lambda: [spec("a", "b"), PARTITIONED], "does not identify one row", "uuid7"),
        (
            lambda: [spec("a", "b"), spec("b", columns=(Column(name="id", type=Type("uuid")),))],
            "a.b_id: it is int64, but public.b.id is uuid",
            "one type",
        ),
        (
            lambda: [spec(n, indexes=(Index(name="i", columns=("id",)),)) for n in "ab"],
            "b: the index 'i' is also one of a",
            "rename",
        ),
        (
            lambda: [
                spec(n, columns=(Column(name="id", type=Type("enum", native="mood", choices=(n,))),)) for n in "ab"
            ],
            "b.id: the enum type mood has other values elsewhere",
            "same values",
        ),
    ],
)
def test_sets_that_do_not_fit(specs: Callable[[], list[EntitySpec]], what: str, remedy: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        check_set(specs())
    assert what in caught.value.what
    assert remedy in str(caught.value)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(DeclarationError, match="2 problems"):
        check_set([spec("a", "x"), spec("b", "y")])
