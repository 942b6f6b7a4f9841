"""Records that are no changes as rows of the table of dead letters, column by column, and back."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from .. import __version__
from ..changes.formats import CONTRADICTED, NO_CHANGE, UNCLEAR
from ..lakehouse import CONTRACT, FOLLOWS, LETTERS_SCHEMA, REFUSED
from ..streams import FETCHED_SCHEMA, header_values, located
from ..streams.placing import Places
from ..streams.relay import Undecodable

FOREIGN = "Foreign"
"""A record that no publisher of ours wrote: it stands in nobody's order, and holds no key."""
LASTING = (
    FOREIGN, FOLLOWS, "UnknownSchema", "UnreadableValue", NO_CHANGE, CONTRADICTED, UNCLEAR, "40401", "40402", "40403", *CONTRACT, REFUSED,
)  # fmt: skip
"""Codes that tell of the record. Any other tells of the registry, and the record may be good."""
_PAIRS_TEXT = pa.schema([("headers", pa.list_(pa.list_(pa.string())))])
_PAIRS: Any = pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))
_AS_THEY_CAME = ("partition", "offset", "key", "value", "timestamp")
_GUID = "__value_schema_id"


def letters_of(found: Undecodable) -> pa.Table:
    """Rows for the table of dead letters."""
    records, count = found.records.combine_chunks(), found.records.num_rows
    ours, places = located(records)
    lsn = np.zeros(count, np.int64)
    lsn[ours] = places.lsn
    codes: Any = pa.array(found.codes, pa.string()).dictionary_encode()
    columns: dict[str, Any] = {name: records[name] for name in _AS_THEY_CAME}
    columns |= {
        name: pa.repeat(pa.scalar(value), count)
        for name, value in (("topic", found.topic), ("version", __version__), ("state", "parked"), ("seen_at", time.time_ns() // 1000))
    }
    columns |= {
        "_lsn": pa.array(lsn, mask=~ours), "headers": _printed(records["headers"]), "reason": pa.array(found.reasons, pa.string()),
        "class": _each(codes, class_of), "code": codes.cast(pa.string()), "schema_id": _schema_ids(records), "ended_at": pa.nulls(count),
        "holds": _each(codes, lambda code: code != FOREIGN),
    }  # fmt: skip
    return pa.table({name: columns[name] for name in LETTERS_SCHEMA.names}).cast(LETTERS_SCHEMA)


def class_of(code: str) -> str:
    """What is wrong with a record: nothing but that it waits, its entity's contract, the lake's writing, or else its bytes."""
    known = {FOLLOWS: "follows", REFUSED: "sink", **dict.fromkeys(CONTRACT, "contract")}
    return known.get(code, "undecodable")


def records_of(letters: pa.Table) -> pa.Table:
    """Letters as the records that they were: `FETCHED_SCHEMA`."""
    columns = {name: letters[name] for name in _AS_THEY_CAME} | {"headers": _headers(letters["headers"].combine_chunks())}
    return pa.table({name: columns[name] for name in FETCHED_SCHEMA.names}).cast(FETCHED_SCHEMA)


def places_in(headers: Any) -> tuple[Any, Places]:
    """Which letters tell a place in their headers, and the places of these."""
    return located(pa.table({"headers": _headers(headers.combine_chunks())}))


def _headers(texts: Any) -> Any:
    """Headers as they were, of many records at once; those with a value that is no text by themselves."""
    apart = np.asarray(pc.match_substring(pc.fill_null(texts, ""), '{"base64": '))
    lines = _glued('{"headers": ', pc.if_else(pa.array(apart), "[]", pc.fill_null(texts, "[]")), "}")
    if not len(lines):
        return pa.nulls(0, FETCHED_SCHEMA.field("headers").type)
    all_of_it: Any = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    joined: Any = pc.binary_join(all_of_it, "\n")
    content = joined[0].as_buffer()
    how = pj.ReadOptions(use_threads=False, block_size=content.size + 1)
    source: Any = pa.BufferReader(content)
    lists: Any = pj.read_json(source, how, pj.ParseOptions(_PAIRS_TEXT))["headers"].combine_chunks()
    both, lengths = lists.flatten().flatten(), pc.list_value_length(lists)
    offsets: Any = pa.array(np.concatenate([[0], np.cumsum(np.asarray(lengths))]).astype(np.int32))
    names, values = both.take(pa.array(np.arange(0, len(both), 2))), both.take(pa.array(np.arange(1, len(both), 2)))
    found: Any = pa.MapArray.from_arrays(offsets, names, values.cast(pa.binary()))
    if not apart.any():
        return found
    others: Any = pa.array([headers_from(text) for text in texts.filter(pa.array(apart)).to_pylist()], found.type)
    where = np.where(apart, len(found) + np.cumsum(apart) - 1, np.arange(len(found)))
    return pa.concat_arrays([found, others]).take(pa.array(where))


def headers_from(text: str) -> list[tuple[str, bytes | None]]:
    """Headers as they were."""
    return [(name, _bytes(value)) for name, value in json.loads(text)]


def _each(words: Any, tell: Any) -> Any:
    """A function of a few distinct words, for all rows."""
    return pa.array([tell(word) for word in words.dictionary.to_pylist()]).take(words.indices)


def _schema_ids(records: pa.Table) -> Any:
    """The schema that a value names: a GUID in a header, or the number in its frame."""
    values: Any = records["value"].combine_chunks()
    heads = pc.binary_slice(values, 0, 5).dictionary_encode()
    guids, of = header_values(records, _GUID)
    named = np.asarray(pc.fill_null(pc.binary_length(guids), 0)) > 0
    told: Any = guids.filter(pa.array(named)).dictionary_encode()
    texts = [_number(head) for head in heads.dictionary.to_pylist()] + [guid[1:].hex() for guid in told.dictionary.to_pylist()] + [None]
    which = np.asarray(pc.fill_null(heads.indices, len(texts) - 1), np.int64).copy()
    which[of[named][::-1]] = (np.asarray(told.indices, np.int64) + len(heads.dictionary))[::-1]  # the first of several stays
    return pa.array(texts, pa.string()).take(which)


def _number(head: bytes) -> str | None:
    return str(int.from_bytes(head[1:], "big")) if len(head) == 5 and head[0] == 0 else None


def _printed(headers: Any) -> Any:
    """Each record's headers as a JSON array of pairs."""
    lists = headers.combine_chunks().cast(_PAIRS)
    flat, lengths = pc.list_flatten(lists), np.asarray(pc.fill_null(pc.list_value_length(lists), 0))
    pairs = _glued("[", _quoted(pc.struct_field(flat, [0])), ", ", _texts(pc.struct_field(flat, [1])), "]")
    offsets: Any = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    lines: Any = pa.ListArray.from_arrays(offsets, pairs)
    return _glued("[", pc.binary_join(lines, ", "), "]")


def _glued(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, "")


def _texts(values: Any) -> Any:
    """Values as JSON: text where they are, else in base64."""
    try:
        return pc.fill_null(_quoted(values.cast(pa.string())), "null")
    except pa.ArrowInvalid:
        return pa.array([json.dumps(_text(value), ensure_ascii=False) for value in values.to_pylist()], pa.string())


def _quoted(texts: Any) -> Any:
    if pc.any(pc.match_substring_regex(texts, "[\\x00-\\x1f]")).as_py():
        return pa.array([None if text is None else json.dumps(text, ensure_ascii=False) for text in texts.to_pylist()], pa.string())
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    return _glued('"', escaped, '"')


def _text(value: bytes | None) -> Any:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        assert value is not None
        return {"base64": base64.b64encode(value).decode()}


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()


__all__ = ["FOREIGN", "LASTING", "class_of", "headers_from", "letters_of", "places_in", "records_of"]
