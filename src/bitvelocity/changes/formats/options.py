"""Options of the formats, with Debezium's own names and values where Debezium has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from bitvelocity.errors import SettingsError

_ADJUST = ("none", "avro", "avro_unicode")
CHOICES: dict[str, tuple[str, ...]] = {
    "decimal.handling.mode": ("precise", "double", "string"),
    "time.precision.mode": (
        "adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds",
    ),
    "binary.handling.mode": ("bytes", "base64", "base64-url-safe", "hex"),
    "hstore.handling.mode": ("json", "map"),
    "interval.handling.mode": ("numeric", "string"),
    "schema.name.adjustment.mode": _ADJUST,
    "field.name.adjustment.mode": _ADJUST,
    "delete.tombstone.handling.mode": ("drop", "tombstone", "rewrite", "rewrite-with-tombstone", "delete-to-tombstone"),
}  # fmt: skip
"""Options that have one of a few values."""
DROPPING = "drop.fields."

Mask: TypeAlias = tuple[Literal["chars", "hash", "truncate"], str, int, str]
"""Kind, algorithm, length, salt of what is done to the values of a column."""


@dataclass(frozen=True, slots=True)
class Options:
    """How changes become records. `Options.of` reads them by their dotted names; a wrong one is an error.

    `strict_debezium` repeats what are known defects of Debezium 3.6: NaN in a numeric becomes null, infinite dates and
    timestamps overflow, the id of a transaction differs between its events, and a tombstone of the unwrapped form, in the
    mode `tombstone`, is the text `null`, which a compacted topic keeps. `cloudevents` and `keep_exact` add headers (see
    `stamps`): what an event is, and all that a batch needs to be made of it again.
    """

    topic_prefix: str = "bv"
    topic_delimiter: str = "."
    topic_transaction: str = "transaction"
    topic_heartbeat_prefix: str = "__debezium-heartbeat"
    heartbeat_interval_ms: int = 0
    schemas_enable: bool = False
    decimal_handling_mode: str = "precise"
    time_precision_mode: str = "adaptive"
    binary_handling_mode: str = "bytes"
    hstore_handling_mode: str = "json"
    interval_handling_mode: str = "numeric"
    schema_name_adjustment_mode: str = "none"
    field_name_adjustment_mode: str = "none"
    tombstones_on_delete: bool = True
    skipped_operations: tuple[str, ...] = ("t",)
    provide_transaction_metadata: bool = False
    unavailable_value_placeholder: str = "__debezium_unavailable_value"
    table_include_list: tuple[str, ...] = ()
    table_exclude_list: tuple[str, ...] = ()
    column_include_list: tuple[str, ...] = ()
    column_exclude_list: tuple[str, ...] = ()
    message_key_columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    masks: tuple[tuple[str, Mask], ...] = ()
    """Regular expression of the columns, and what is done to them."""
    delete_tombstone_handling_mode: str = "tombstone"
    add_fields: tuple[str, ...] = ()
    add_fields_prefix: str = "__"
    add_headers: tuple[str, ...] = ()
    add_headers_prefix: str = "__"
    version: str = "3.6.3.Final"
    strict_debezium: bool = False
    cloudevents: bool = False
    keep_exact: bool = False

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Options:
        """Read options by their dotted names; what is not given has Debezium's default."""
        known: dict[str, Any] = {}
        masks: list[tuple[str, Mask]] = []
        for name, text in given.items():
            if (mask := _mask(name)) is not None:
                masks += [(pattern, mask) for pattern in _words(name, text)]
            elif name in _READ:
                known[name.replace(".", "_")] = _READ[name](name, text)
            elif name.startswith(DROPPING):
                raise wrong(
                    name, f"{name} would drop nothing: what is to go stands in a header that another transform sets, and here is none.",
                    "Leave it out, and name what shall not be told in column.exclude.list.",
                )  # fmt: skip
            else:
                raise wrong(name, f"There is no option {name!r}.", f"Known are: {', '.join(NAMES)}.")
        return cls(**known, masks=tuple(masks))

    def takes(self, relation: str) -> bool:
        """Whether records are made of this table's changes."""
        if self.table_include_list:
            return _any(self.table_include_list, relation)
        return not _any(self.table_exclude_list, relation)

    def takes_column(self, path: str) -> bool:
        """Whether this column, `schema.table.column`, stands in the records."""
        if self.column_include_list:
            return _any(self.column_include_list, path)
        return not _any(self.column_exclude_list, path)

    def mask(self, path: str) -> Mask | None:
        """What is done to the values of a column, `schema.table.column`."""
        return next((mask for pattern, mask in self.masks if _any((pattern,), path)), None)

    def key(self, relation: str) -> tuple[str, ...] | None:
        """The columns of the record's key, where another than the table's was asked for."""
        return next((names for table, names in self.message_key_columns if _any((table,), relation)), None)


def wrong(name: str, what: str, remedy: str) -> SettingsError:
    """What is said of an option that cannot be."""
    return SettingsError(what, entity=name, safe="Nothing was read.", remedy=remedy, code="FormatOption")


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(re.fullmatch(pattern, name, re.IGNORECASE) for pattern in patterns)


def _text(_: str, text: str) -> str:
    return text


def _choice(name: str, text: str) -> str:
    allowed = CHOICES[name]
    if text.strip().lower() not in allowed:
        raise wrong(name, f"{name} cannot be {text!r}.", f"It is one of: {', '.join(allowed)}.")
    return text.strip().lower()


def _bool(name: str, text: str) -> bool:
    if text.strip().lower() not in ("true", "false"):
        raise wrong(name, f"{name} cannot be {text!r}.", "It is one of: true, false.")
    return text.strip().lower() == "true"


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise wrong(name, f"{name} cannot be {text!r}.", "It is a number, 0 or more.")
    return int(text)


def _words(name: str, text: str) -> tuple[str, ...]:
    """A list by commas; where it holds regular expressions, each must be one."""
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words if name.startswith(("table.", "column.")) else ():
        try:
            re.compile(word)
        except re.error as error:
            raise wrong(name, f"{word!r} is no regular expression: {error}.", "Write schema.table, dots as \\.") from error
    return words


def _operations(name: str, text: str) -> tuple[str, ...]:
    words = _words(name, text)
    if not set(words) <= {"c", "u", "d", "t", "none"}:
        raise wrong(name, f"{name} cannot be {text!r}.", "It is a list of: c, u, d, t; or none.")
    return tuple(word for word in words if word != "none")


def _keys(name: str, text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = []
    for part in (part for part in text.split(";") if part.strip()):
        table, colon, columns = part.strip().partition(":")
        if not (table and colon and columns):
            raise wrong(name, f"{part!r} names no key.", "Write schema.table:column,column; parts are set apart by ';'.")
        found.append((table, tuple(column.strip() for column in columns.split(","))))
    return tuple(found)


_MASKS = re.compile(
    r"column\.(?:mask\.with\.(?P<chars>\d+)\.chars|truncate\.to\.(?P<truncate>\d+)\.chars"
    r"|mask\.hash(?:\.v2)?\.(?P<hash>[^.]+(?:-[^.]+)*)\.with\.salt\.(?P<salt>.+))"
)
HASHES = ("MD2", "MD5", "SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512")


def _mask(name: str) -> Mask | None:
    found = _MASKS.fullmatch(name)
    if found is None:
        return None
    if found["hash"]:
        if found["hash"].upper() not in HASHES[1:]:
            raise wrong(name, f"There is no hash {found['hash']!r}.", f"It is one of: {', '.join(HASHES[1:])}.")
        return ("hash", found["hash"].upper(), 2 if ".hash.v2." in name else 1, found["salt"])
    if found["chars"] is not None:
        return ("chars", "", int(found["chars"]), "")
    return ("truncate", "", int(found["truncate"]), "")


_Reader = Callable[[str, str], object]
_SPECIAL: dict[str, _Reader] = {"skipped.operations": _operations, "message.key.columns": _keys}


def _reader(name: str, default: object) -> _Reader:
    if name in _SPECIAL:
        return _SPECIAL[name]
    if name in CHOICES:
        return _choice
    if isinstance(default, int) and not isinstance(default, bool):
        return _number
    return _bool if isinstance(default, bool) else _words if isinstance(default, tuple) else _text


_READ: dict[str, _Reader] = {
    one.name.replace("_", "."): _reader(one.name.replace("_", "."), one.default)
    for one in fields(Options)
    if one.name != "masks"
}
_READ |= {"strict_debezium": _bool, "keep_exact": _bool}
NAMES: tuple[str, ...] = (
    *(name for name in _READ if name not in ("strict.debezium", "keep.exact")),
    "column.mask.with.<n>.chars", "column.mask.hash.<algorithm>.with.salt.<salt>", "column.truncate.to.<n>.chars",
)  # fmt: skip
"""All options, as a user writes them."""
