"""A class statement becomes exactly the spec that it reads like."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, NewType, Optional
from uuid import UUID

import pytest

from bitvelocity.contracts import (
    AUDIT_COLUMNS,
    Bits,
    Column,
    Default,
    Doc,
    Entity,
    Generated,
    Identity,
    Index,
    Json,
    Key,
    Length,
    Measured,
    Naive,
    Name,
    Native,
    Numeric,
    OneOf,
    Partition,
    Pattern,
    Pii,
    Range,
    Ref,
    Reference,
    Type,
    Unique,
    Zoned,
    spec_of,
)
from bitvelocity.errors import DeclarationError

Money = Annotated[Decimal, Numeric(10, 2), Range(min=0)]
CustomerId = NewType("CustomerId", UUID)


class State(Enum):
    PENDING = "PENDING"
    DONE = "DONE"


class Priced:
    """Fields that several tables share."""

    currency: Annotated[str, Length(3)] = "USD"


class Order(
    Priced,
    Entity,
    table="orders",
    owner="commerce",
    retention="7 years",
    partition=Partition(column="created_at"),
    indexes=[Index(name="idx_recent", columns=("customer_id", "created_at desc"), where="deleted_at is null")],
    unique=["created_at", ("state", "created_at")],
):
    """A customer's order."""

    ALLOWED: ClassVar[int] = 3

    order_id: Annotated[UUID, Key(), Default("gen_random_uuid()")]
    customer_id: Annotated[CustomerId, Ref("customers.customer_id", on_delete="cascade")]
    state: State = State.PENDING
    total: Annotated[Money, Doc("With tax.")]
    note: Annotated[str | None, Pii("free_text")] = None
    number: Annotated[int, Identity()]


def column(name: str, entity: type[Entity] = Order) -> Column:
    return entity.spec.by_name[name]


def test_the_entity_itself() -> None:
    spec = spec_of(Order)
    assert (spec.name, spec.qualified, spec.owner, spec.retention) == ("orders", "public.orders", "commerce", "7 years")
    assert spec.doc == "A customer's order."
    assert spec.key == ("order_id", "created_at")
    assert spec.unique == (("created_at",), ("state", "created_at"))
    assert spec.references == (
        Reference(columns=("customer_id",), to="public.customers", to_columns=("customer_id",), on_delete="cascade"),
    )
    assert spec.managed
    assert spec.replica_identity == "full"


def test_columns_stand_in_the_order_of_the_text_then_mixins_then_audit() -> None:
    names = [one.name for one in Order.spec.columns]
    assert names[:7] == ["order_id", "customer_id", "state", "total", "note", "number", "currency"]
    assert Order.spec.columns[7:] == AUDIT_COLUMNS


def test_values_become_sql() -> None:
    assert column("state").default == "'PENDING'"
    assert column("state").choices == ("PENDING", "DONE")
    assert column("currency").default == "'USD'"
    assert column("note") == Column(name="note", type=Type("text"), nullable=True, pii="free_text")
    assert column("total") == Column(
        name="total", type=Type("decimal", precision=10, scale=2), minimum="0", doc="With tax."
    )
    assert column("number").identity


def test_an_entity_is_never_a_row() -> None:
    with pytest.raises(DeclarationError, match="has no instances"):
        Order()


class Everything(Entity, audit=False, key=()):
    boolean: bool
    int16: Annotated[int, Bits(16)]
    int32: Annotated[int, Bits(32)]
    int64: int
    float32: Annotated[float, Bits(32)]
    float64: float
    decimal: Annotated[Decimal, Numeric()]
    whole: Annotated[Decimal, Numeric(20)]
    text: str
    varchar: Annotated[str, Length(5)]
    char: Annotated[str, Length(3, fixed=True)]
    uuid: UUID
    blob: bytes
    day: date
    clock: time
    clock_zone: Annotated[time, Zoned()]
    naive: Annotated[datetime, Naive()]
    moment: datetime
    span: timedelta
    document: dict[str, Any]
    documents: list  # type: ignore[type-arg]
    json: Annotated[list[int], Json(binary=False)]
    tags: list[str]
    amounts: list[Annotated[Decimal, Numeric(9, 4)]]
    mood: Annotated[Literal["happy", "sad"], Native("public.mood")]
    moods: list[Annotated[Literal["happy", "sad"], Native("public.mood")]]
    search: Annotated[Any, Native("tsvector")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("boolean", Type("boolean")),
        ("int16", Type("int16")),
        ("int32", Type("int32")),
        ("int64", Type("int64")),
        ("float32", Type("float32")),
        ("float64", Type("float64")),
        ("decimal", Type("decimal")),
        ("whole", Type("decimal", precision=20, scale=0)),
        ("text", Type("text")),
        ("varchar", Type("text", length=5)),
        ("char", Type("char", length=3)),
        ("uuid", Type("uuid")),
        ("blob", Type("bytes")),
        ("day", Type("date")),
        ("clock", Type("time")),
        ("clock_zone", Type("timetz")),
        ("naive", Type("timestamp")),
        ("moment", Type("timestamptz")),
        ("span", Type("interval")),
        ("document", Type("jsonb")),
        ("documents", Type("jsonb")),
        ("json", Type("json")),
        ("tags", Type("array", item=Type("text"))),
        ("amounts", Type("array", item=Type("decimal", precision=9, scale=4))),
        ("mood", Type("enum", native="public.mood", choices=("happy", "sad"))),
        ("moods", Type("array", item=Type("enum", native="public.mood", choices=("happy", "sad")))),
        ("search", Type("other", native="tsvector")),
    ],
)
def test_types(name: str, expected: Type) -> None:
    assert column(name, Everything).type == expected


def test_every_way_to_allow_null() -> None:
    class Nullable(Entity, audit=False, key=()):
        a: str | None
        b: Optional[str]  # noqa: UP045
        c: Annotated[str | None, Length(3)]
        d: Annotated[str, Length(3)] | None
        e: Literal["x", None]
        f: str

    assert [one.nullable for one in Nullable.spec.columns] == [True] * 5 + [False]
    assert column("d", Nullable).type == Type("text", length=3)
    assert column("e", Nullable).choices == ("x",)


def test_defaults_of_every_kind() -> None:
    class Defaults(Entity, audit=False, key=()):
        flag: bool = True
        count: int = -1
        amount: Annotated[Decimal, Numeric(6, 2)] = Decimal("1.50")
        said: str = "it's"
        day: date = date(2026, 1, 2)
        naive: Annotated[datetime, Naive()] = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001
        span: timedelta = timedelta(days=1, seconds=1.5)
        blob: bytes = b"\x01\xff"
        document: Annotated[Any, Json()] = {"a": [1, None]}  # noqa: RUF012
        tags: list[str] = []  # noqa: RUF012
        uuid: UUID = UUID(int=1)

    assert {one.name: one.default for one in Defaults.spec.columns} == {
        "flag": "true",
        "count": "-1",
        "amount": "1.50",
        "said": "'it''s'",
        "day": "'2026-01-02'",
        "naive": "'2026-01-02 03:04:00'",
        "span": "'1 days 1.5 seconds'",
        "blob": "'\\x01ff'",
        "document": """'{"a": [1, null]}'""",
        "tags": "'{}'",
        "uuid": "'00000000-0000-0000-0000-000000000001'",
    }


def test_names_of_the_source() -> None:
    class OrderLine(Entity, schema="Sales Dept", table="Order Line", managed=False, audit=False, replica_identity="default"):
        """Somebody else's table."""

        class_: Annotated[str, Name("class"), Key()]
        second: Annotated[int | None, Name("2nd")]

    spec = OrderLine.spec
    assert (spec.name, spec.schema, spec.table, spec.managed) == ("order_line", "Sales Dept", "Order Line", False)
    assert [one.name for one in spec.columns] == ["class", "2nd"]
    assert spec.key == ("class",)


def test_the_class_name_is_the_table_by_default() -> None:
    class HTTPRequestLog(Entity, audit=False, key=()):
        at: datetime

    assert HTTPRequestLog.spec.table == "http_request_log"


def test_an_audit_column_may_be_redeclared() -> None:
    class Event(Entity, table="events"):
        created_at: Annotated[datetime, Key()]
        event_id: Annotated[UUID, Key()]
        updated_at: Annotated[datetime, Default(None), Doc("Never.")]

    spec = Event.spec
    assert spec.key == ("created_at", "event_id")
    assert [one.name for one in spec.columns[:3]] == ["created_at", "event_id", "updated_at"]
    assert spec.by_name["created_at"] == AUDIT_COLUMNS[0]
    assert spec.by_name["updated_at"] == Column(name="updated_at", type=Type("timestamptz"), audit=True, doc="Never.")
    assert len(spec.columns) == len(AUDIT_COLUMNS) + 1


def test_uuid7_partitions_leave_the_key_alone() -> None:
    class Event(Entity, partition=Partition(column="event_id", by="uuid7")):
        event_id: Annotated[UUID, Key(), Default("uuidv7()")]

    assert Event.spec.key == ("event_id",)


def test_unique_fields_come_before_unique_groups() -> None:
    class Thing(Entity, audit=False, key=(), unique=[("a", "b"), "a"]):
        a: int
        b: Annotated[int, Unique()]

    assert Thing.spec.unique == (("b",), ("a", "b"), ("a",))


def test_rules() -> None:
    class Rules(Entity, audit=False, key=()):
        code: Annotated[str, Pattern("[A-Z]{3}")]
        currency: Annotated[str, OneOf("EUR", "USD"), Length(3, fixed=True)]
        since: Annotated[date, Range(min=date(2020, 1, 1), max="2030-12-31")]
        share: Annotated[Decimal, Numeric(5, 4), Range(min=Decimal("0.0000"), max="1.0000")]
        price: Annotated[float, Measured()]
        name: Annotated[str, Generated("upper(code)")]

    assert column("code", Rules).pattern == "[A-Z]{3}"
    assert column("currency", Rules).choices == ("EUR", "USD")
    assert (column("since", Rules).minimum, column("since", Rules).maximum) == ("2020-01-01", "2030-12-31")
    assert (column("share", Rules).minimum, column("share", Rules).maximum) == ("0.0000", "1.0000")
    assert column("name", Rules).generated == "upper(code)"


def test_references_name_their_schema_or_get_the_entitys() -> None:
    class Line(Entity, schema="sales", references=[Reference(columns=("a", "b"), to="orders", to_columns=("x", "y"))]):
        a: Annotated[int, Key(), Ref("catalog.products.product_id")]
        b: Annotated[int, Ref("prices.price_id")]

    assert [reference.to for reference in Line.spec.references] == ["catalog.products", "sales.prices", "sales.orders"]


def test_equal_declarations_have_equal_fingerprints() -> None:
    def declare(note: str) -> type[Entity]:
        class Thing(Entity, owner=note):
            thing_id: Annotated[int, Key()]

        return Thing

    assert declare("a").spec.fingerprint == declare("a").spec.fingerprint != declare("b").spec.fingerprint
