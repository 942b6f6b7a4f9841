"""Hand-made change sets through each format: keys that change, tombstones, transactions, masks, what was not sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.changes import DETAIL_FIELDS, MESSAGES, SYSTEM_FIELDS, TRANSACTIONS, Batch, Shape
from bitvelocity.changes.formats import (
    ColumnFacts,
    Described,
    Encoder,
    Moment,
    Options,
    TableFacts,
    heartbeat,
    in_order,
)

INT, TEXT, NUMERIC, BYTEA, STAMP, LINE = 23, 25, 1700, 17, 1184, 628
PRICE = ((10 << 16) | 2) + 4
FACTS = {
    "id": ColumnFacts(INT, not_null=True, default="nextval('orders_id_seq'::regclass)"),
    "name": ColumnFacts(TEXT, not_null=True),
    "price": ColumnFacts(NUMERIC, PRICE, default="1.50"),
    "note": ColumnFacts(TEXT),
    "way": ColumnFacts(LINE),
}
SHAPE = Shape(1, (INT, TEXT, NUMERIC, TEXT, LINE), (-1, -1, PRICE, -1, -1), (True, False, False, False, False), "d")
ORDERS = Described("shop", {"public.orders": TableFacts("public.orders", FACTS, ("id",))})
Row = dict[str, Any]


def batch(rows: Sequence[Row], relation: str = "public.orders", columns: Sequence[str] = tuple(FACTS), shape: Shape | None = SHAPE) -> Batch:
    data = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in (*SYSTEM_FIELDS, *DETAIL_FIELDS)}
    for side in ("after", "before"):
        for name in columns:
            data[f"{side}_{name}"] = pa.array([(row.get(side) or {}).get(name) for row in rows], pa.string())
    return Batch(relation, tuple(columns), pa.table(data), shape)


def change(op: str, at: tuple[int, int], **rest: Any) -> Row:
    return {"_op": op, "_lsn": at[0], "_ordinal": at[1], "_xid": at[0] + 1, "_committed_at": 1_000_000, "_row_lsn": at[0] - 50 + at[1], **rest}


def row(number: int, **rest: str | None) -> dict[str, str | None]:
    return {"id": str(number), "name": "n", "price": "2.50", "note": None, "way": "{1,2,3}", **rest}


def ended(*lsns: int) -> Batch:
    rows = [{**change("x", (lsn, 0)), "after": {"end_lsn": str(lsn + 8), "begin_lsn": str(lsn - 50)}} for lsn in lsns]
    return batch(rows, TRANSACTIONS, ("end_lsn", "begin_lsn"), None)


def message(at: tuple[int, int], prefix: str, content: bytes, **rest: Any) -> Batch:
    said = {"prefix": prefix, "content": "\\x" + content.hex(), "transactional": "t"}
    return batch([change("m", at, after=said, **rest)], MESSAGES, tuple(said), None)


def told(form: Any, *batches: Batch, described: Described = ORDERS, **options: str) -> list[dict[str, Any]]:
    encoder = Encoder(form, described, Options.of({name.replace("_", "."): value for name, value in options.items()}))
    return [
        {
            "topic": r["topic"], "key": json.loads(r["key"]) if r["key"] else None,
            "value": json.loads(r["value"]) if r["value"] else None,
            "headers": {name: json.loads(value) for name, value in r["headers"] or []},
        }
        for r in in_order(encoder.encode(batches)).to_pylist()
    ]  # fmt: skip


DELETE = change("d", (100, 1), before={"id": "1"}, _old="K")
MOVE = change("u", (100, 2), before={"id": "2"}, after=row(3), _old="K")


def test_a_row_in_the_envelope() -> None:
    first, second = told("debezium", batch([change("c", (100, 0), after=row(1)), change("c", (200, 0), after=row(2))]), ended(100, 200))
    assert first["key"] == {"id": 1}
    assert first["value"]["after"] == {"id": 1, "name": "n", "price": "APo=", "note": None}, "a line is left out, as Debezium does"
    assert first["value"]["source"]["sequence"] == '[null,"50"]'
    assert second["value"]["source"]["sequence"] == '["108","150"]'
    assert second["value"]["source"]["txId"] == 201


def test_a_delete_has_a_tombstone_and_what_was_not_sent_has_a_form() -> None:
    gone, tombstone = told("debezium", batch([DELETE]))
    assert gone["value"]["before"] == {"id": 1, "name": "", "price": "AJY=", "note": None}
    assert (tombstone["key"], tombstone["value"]) == ({"id": 1}, None)
    assert len(told("debezium", batch([DELETE]), tombstones_on_delete="false")) == 1


def test_defaults_stand_in_the_schema_and_in_place_of_null() -> None:
    found = told("debezium", batch([change("c", (1, 0), after=row(1, price=None))]), schemas_enable="true")[0]
    fields = {field["field"]: field for field in found["value"]["schema"]["fields"][1]["fields"]}
    assert (fields["id"]["default"], fields["price"]["default"]) == (0, "AJY=")
    assert found["value"]["payload"]["after"]["price"] == "AJY="
    assert found["key"]["schema"]["fields"][0] == {"type": "int32", "optional": False, "default": 0, "field": "id"}


def test_a_change_of_the_key_is_a_delete_and_a_create() -> None:
    gone, tombstone, come = told("debezium", batch([MOVE]))
    assert (gone["value"]["op"], gone["key"], gone["headers"]) == ("d", {"id": 2}, {"__debezium.newkey": {"id": 3}})
    assert (tombstone["value"], tombstone["key"]) == (None, {"id": 2})
    assert (come["value"]["op"], come["key"], come["headers"]) == ("c", {"id": 3}, {"__debezium.oldkey": {"id": 2}})
    own = told("bitvelocity", batch([MOVE]))
    assert [(r["key"], r["value"]["metadata"]["operation"]) for r in own] == [({"id": 3}, "UPDATE")]


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("drop", []), ("tombstone", [None]), ("rewrite", ["true"]), ("rewrite-with-tombstone", ["true", None]),
        ("delete-to-tombstone", [None]),
    ],
)  # fmt: skip
def test_deletes_without_the_envelope(mode: str, values: list[str | None]) -> None:
    found = told("debezium-unwrapped", batch([DELETE]), delete_tombstone_handling_mode=mode)
    assert [r["value"] and r["value"]["__deleted"] for r in found] == values
    assert all(r["key"] == {"id": 1} for r in found)


def test_added_fields_and_headers() -> None:
    rows = batch([change("c", (100, 0), after=row(1)), DELETE])
    found = told("debezium-unwrapped", rows, add_fields="op,table,lsn:position,source.ts_ms", add_headers="op,db", schemas_enable="true")
    made = found[0]["value"]
    assert {k: v for k, v in made["payload"].items() if k.startswith("__")} == {
        "__op": "c", "__table": "orders", "__position": 50, "__source_ts_ms": 1000,
    }  # fmt: skip
    assert [field["field"] for field in made["schema"]["fields"]][4:] == ["__op", "__table", "__position", "__source_ts_ms"]
    text = {"type": "string", "optional": True}
    assert found[0]["headers"] == {name: {"schema": text, "payload": said} for name, said in (("__op", "c"), ("__db", "shop"))}
    assert found[1]["value"] is None
    assert found[1]["headers"] == {"__op": {"schema": text, "payload": "d"}}


def test_own_event_says_who_and_where() -> None:
    who = {"_operation_user": "ann", "_correlation_id": "c-1"}
    rows = batch([change("u", (0x2400000140, 3), after=row(1), before=row(1, price="1.00"), _old="O", **who), DELETE])
    deleted, updated = (r["value"] for r in told("bitvelocity", rows) if r["value"])
    assert updated["payload"] == {"id": 1, "name": "n", "price": "2.50", "note": None, "way": "{1,2,3}"}
    assert updated["before"]["price"] == "1.00"
    assert updated["audit"] == {"user": "ann", "correlation_id": "c-1", "source": None}
    said = updated["metadata"]
    assert (said["operation"], said["source"], said["position"]) == ("UPDATE", "public.orders", "24/140:3")
    assert said["timestamp"] == "1970-01-01T00:00:01.000000Z"
    assert deleted["metadata"]["operation"] == "DELETE"
    assert deleted["payload"] == {"id": 1, "name": None, "price": None, "note": None, "way": None}


def test_what_did_not_change_and_was_not_sent_is_named() -> None:
    rows = batch([change("u", (100, 0), after=row(1, note=None), _absent='["note"]'), change("u", (100, 1), after=row(2))])
    assert [r["value"]["after"]["note"] for r in told("debezium", rows)] == ["__debezium_unavailable_value", None]
    assert [r["value"]["metadata"]["absent"] for r in told("bitvelocity", rows)] == [["note"], []]


def test_transactions_count_their_events() -> None:
    rows = batch([change("c", (100, n), after=row(n)) for n in (0, 1)])
    found = told("debezium", message((100, 1), "p", b"hi"), rows, ended(100), provide_transaction_metadata="true")
    begin, first, said, second, end = found
    assert (begin["topic"], begin["key"]) == ("bv.transaction", {"id": "101:100"})
    assert begin["value"] == {"status": "BEGIN", "id": "101:100", "event_count": None, "data_collections": None, "ts_ms": 1000}
    assert [r["value"]["transaction"] for r in (first, said, second)] == [
        {"id": "101:100", "total_order": 1, "data_collection_order": 1},
        {"id": "101:100", "total_order": 2, "data_collection_order": 1},
        {"id": "101:100", "total_order": 3, "data_collection_order": 2},
    ]
    assert said["topic"] == "bv.message"
    assert said["value"]["message"] == {"prefix": "p", "content": "aGk="}
    assert end["value"]["event_count"] == 3
    assert {c["data_collection"]: c["event_count"] for c in end["value"]["data_collections"]} == {"public.orders": 2, "pg_logical_message": 1}


def test_a_transaction_in_pieces_counts_on() -> None:
    encoder = Encoder("debezium", ORDERS, Options(provide_transaction_metadata=True))
    orders = []
    for numbers, last in (((0, 1), []), ((2, 3), [ended(100)])):
        rows = batch([change("c", (100, n), after=row(n)) for n in numbers])
        for r in in_order(encoder.encode([rows, *last])).to_pylist():
            value = json.loads(r["value"])
            orders.append(value.get("status") or value["transaction"]["total_order"])
    assert orders == ["BEGIN", 1, 2, 3, 4, "END"]


def test_tables_columns_keys_and_operations_are_chosen() -> None:
    rows = batch([change("c", (100, 0), after=row(1)), change("t", (100, 3)), DELETE])
    assert told("debezium", rows, table_exclude_list="public.orders") == []
    assert [r["value"]["op"] for r in told("debezium", rows, skipped_operations="d")] == ["c", "t"]
    found = told("debezium", rows, message_key_columns="public.orders:name", column_exclude_list=r"public\.orders\.(name|price)")
    assert found[0]["key"] == {"name": "n"}
    assert found[0]["value"]["after"] == {"id": 1, "note": None}


def test_values_are_masked_hashed_and_cut() -> None:
    rows = batch([change("c", (1, 0), after=row(1, name="Ann", note="a long note"))])

    def after(option: str, column: str) -> Any:
        encoder = Encoder("debezium", ORDERS, Options.of({option: f"public.orders.{column}"}))
        return json.loads(in_order(encoder.encode([rows])).to_pylist()[0]["value"])["after"][column]

    assert after("column.mask.with.4.chars", "name") == "****"
    assert after("column.truncate.to.6.chars", "note") == "a long"
    assert after("column.mask.hash.v2.SHA-256.with.salt.s", "name") == hashlib.sha256(b"sAnn").hexdigest()
    java = b"s\xac\xed\x00\x05t\x00\x03Ann"
    assert after("column.mask.hash.MD5.with.salt.s", "name") == hashlib.md5(java, usedforsecurity=False).hexdigest()
    assert "Ann" not in str(after("column.mask.hash.SHA-512.with.salt.s", "name"))


def test_names_are_made_valid() -> None:
    facts = TableFacts("Odd Name.T-a b", {"Col-1": ColumnFacts(INT, not_null=True)}, ("Col-1",))
    rows = batch([change("c", (1, 0), after={"Col-1": "1"})], facts.relation, ("Col-1",), None)
    described = Described("shop", {facts.relation: facts})
    found = told("debezium", rows, described=described, schemas_enable="true", schema_name_adjustment_mode="avro",
                 field_name_adjustment_mode="avro")[0]  # fmt: skip
    assert found["topic"] == "bv.Odd_Name.T-a_b"
    assert found["value"]["schema"]["name"] == "bv.Odd_Name.T_a_b.Envelope"
    assert found["key"]["payload"] == {"Col_1": 1}


def test_a_table_without_key_has_none() -> None:
    facts = TableFacts("public.orders", FACTS)
    found = told("debezium", batch([change("c", (1, 0), after=row(1)), DELETE]), described=Described("shop", {"public.orders": facts}))
    assert [r["key"] for r in found] == [None, None, None]


def test_a_heartbeat() -> None:
    made = heartbeat(Options.of({"topic.prefix": "shop"}), Moment(5_000_000)).to_pylist()[0]
    assert (made["topic"], made["key"], made["value"]) == ("__debezium-heartbeat.shop", b'{"serverName":"shop"}', b'{"ts_ms":5}')


def test_a_snapshot_in_groups_marks_each_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitvelocity.changes.formats.encoder._GROUP", 1)
    facts = TableFacts("public.items", {"id": ColumnFacts(INT, not_null=True)}, ("id",))
    described = Described("shop", {"public.items": facts, **ORDERS.tables})

    def read(relation: str, *numbers: int) -> Batch:
        columns = tuple(described.tables[relation].columns)
        return batch([change("r", (9, n), after={**row(n)}, _xid=0) for n in numbers], relation, columns, None)

    sets = [read("public.items", 0, 1), read("public.items", 2), read("public.orders", 3), read("public.orders", 4, 5, 6)]
    encoder = Encoder("debezium", described)
    tables = list(encoder.encode_in_order(sets))
    assert len(tables) > 2
    marks = [json.loads(r["value"])["source"]["snapshot"] for table in tables for r in table.to_pylist()]
    assert marks == ["first", "true", "last_in_data_collection", "first_in_data_collection", "true", "true", "last"]
