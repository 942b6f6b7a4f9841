"""The topics beside those of tables: messages, transactions, heartbeats."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import polars as pl
import pyarrow as pa

from .connect import dumps
from .debezium import Moment
from .naming import adjusted, sanitized
from .options import Options
from .plan import SOURCE_SCHEMA, TRANSACTION_SCHEMA, struct_schema, with_schema
from .records import records
from .values import json_string

_PREFIX = '{"type":"string","optional":true,"field":"prefix"}'
_MESSAGE = "io.debezium.connector.postgresql.Message"
_OP, _TS = '{"type":"string","optional":false,"field":"op"}', '{"type":"int64","optional":true,"field":"ts_ms"}'
_COMMON = "io.debezium.connector.common."


def encode_messages(rows: pl.DataFrame, options: Options, moment: Moment) -> pa.Table:
    """Logical messages; `rows` has `prefix, content, source, transaction`."""
    mode = options.schema_name_adjustment_mode
    kind = "bytes" if options.binary_handling_mode == "bytes" else "string"
    content_field = f'{{"type":"{kind}","optional":true,"field":"content"}}'
    message = struct_schema(f"[{_PREFIX},{content_field}]", name=adjusted(_MESSAGE, mode), version=1, field="message")
    fields = f"[{_OP},{_TS},{SOURCE_SCHEMA},{TRANSACTION_SCHEMA},{message}]"
    head, tail = with_schema(struct_schema(fields, name=adjusted(_MESSAGE + "Value", mode), version=1), options)
    key_head, key_tail = with_schema(
        struct_schema(f"[{_PREFIX}]", name=adjusted(_MESSAGE + "Key", mode), version=1), options
    )
    keys, values = [], []
    for prefix, content, source, transaction in rows.select("prefix", "content", "source", "transaction").iter_rows():
        name = json_string(prefix)
        coded = _coded(content[2:], options.binary_handling_mode)
        keys.append(f'{key_head}{{"prefix":{name}}}{key_tail}')
        values.append(
            f'{head}{{"op":"m","ts_ms":{moment.ns // 1_000_000},"source":{source},"transaction":{transaction or "null"},'
            f'"message":{{"prefix":{name},"content":"{coded}"}}}}{tail}'
        )
    frame = rows.with_columns(key=pl.Series(keys, dtype=pl.String), value=pl.Series(values, dtype=pl.String), step=pl.lit(-1))
    return records(sanitized(f"{options.topic_prefix}.message"), frame)  # whatever the delimiter is


def _coded(digits: str, mode: str) -> str:
    """The content of a message, given as hex."""
    if mode == "hex":
        return digits
    encode = base64.urlsafe_b64encode if mode == "base64-url-safe" else base64.b64encode
    return encode(bytes.fromhex(digits)).decode()


def _field(name: str, kind: str, *, optional: bool = False) -> str:
    return f'{{"type":"{kind}","optional":{str(optional).lower()},"field":"{name}"}}'


def _transaction_schemas(mode: str) -> tuple[str, str]:
    per_table = struct_schema(
        f"[{_field('data_collection', 'string')},{_field('event_count', 'int64')}]",
        name="event.collection", version=1, optional=True,
    )  # fmt: skip
    tables = f'{{"type":"array","items":{per_table},"optional":true,"field":"data_collections"}}'
    value = (
        f"[{_field('status', 'string')},{_field('id', 'string')},{_field('event_count', 'int64', optional=True)},{tables},"
        f"{_field('ts_ms', 'int64')}]"
    )
    key = struct_schema(f"[{_field('id', 'string')}]", name=adjusted(_COMMON + "TransactionMetadataKey", mode), version=1)
    return key, struct_schema(value, name=adjusted(_COMMON + "TransactionMetadataValue", mode), version=1)


_FIRST, _LAST = -1, 2**31 - 1


def encode_boundary(options: Options, *, status: str, ident: str, at: int, lsn: int, counts: Mapping[str, int] | None = None) -> pl.DataFrame:  # fmt: skip
    """BEGIN or END of one transaction as a row for `records`."""
    key_schema, value_schema = _transaction_schemas(options.schema_name_adjustment_mode)
    key_head, key_tail = with_schema(key_schema, options)
    head, tail = with_schema(value_schema, options)
    said: dict[str, object] = {"status": status, "id": ident, "event_count": None, "data_collections": None, "ts_ms": at // 1000}
    if counts is not None:
        said["event_count"] = sum(counts.values())
        said["data_collections"] = [{"data_collection": name, "event_count": n} for name, n in counts.items()]
    return pl.DataFrame(
        {
            "key": [f"{key_head}{dumps({'id': ident})}{key_tail}"], "value": [f"{head}{dumps(said)}{tail}"], "at": [at],
            "lsn": [lsn], "ordinal": [_FIRST if status == "BEGIN" else _LAST], "step": [0],
        },
        schema={"key": pl.String, "value": pl.String, "at": pl.Int64, "lsn": pl.Int64, "ordinal": pl.Int32, "step": pl.Int32},
    )  # fmt: skip


def transaction_topic(options: Options) -> str:
    """Where BEGIN and END go."""
    return sanitized(options.topic_delimiter.join((options.topic_prefix, options.topic_transaction)))


def heartbeat(options: Options, moment: Moment) -> pa.Table:
    """One heartbeat, as Debezium sends it every `heartbeat.interval.ms`."""
    mode = options.schema_name_adjustment_mode
    key_head, key_tail = with_schema(
        struct_schema(f"[{_field('serverName', 'string')}]", name=adjusted(_COMMON + "ServerNameKey", mode), version=1),
        options,
    )
    head, tail = with_schema(
        struct_schema(f"[{_field('ts_ms', 'int64')}]", name=adjusted(_COMMON + "Heartbeat", mode), version=1), options
    )
    frame = pl.DataFrame(
        {
            "key": [f"{key_head}{dumps({'serverName': options.topic_prefix})}{key_tail}"],
            "value": [f'{head}{{"ts_ms":{moment.ns // 1_000_000}}}{tail}'],
            "at": [moment.ns // 1000], "lsn": [0], "ordinal": [0], "step": [0],
        }
    )  # fmt: skip
    return records(sanitized(options.topic_delimiter.join((options.topic_heartbeat_prefix, options.topic_prefix))), frame)
