"""Options by Debezium's names: what is wrong is an error that names the option and what is allowed."""

from __future__ import annotations

import pytest

from bitvelocity.changes.formats import CHOICES, NAMES, Options, options_for
from bitvelocity.errors import SettingsError


def test_every_choice_is_read() -> None:
    for name, allowed in CHOICES.items():
        for value in allowed:
            assert getattr(Options.of({name: value}), name.replace(".", "_")) == value


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_a_wrong_choice_names_the_option_and_what_is_allowed(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Options.of({name: "nonsense"})
    assert name in str(caught.value)
    assert all(value in str(caught.value) for value in CHOICES[name])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no.such.option", "1"), ("tombstones.on.delete", "perhaps"), ("skipped.operations", "c,x"),
        ("table.include.list", "("), ("message.key.columns", "public.orders"),
        ("column.mask.hash.CRC-32.with.salt.s", "public.a.b"), ("column.mask.with.x.chars", "public.a.b"),
        ("drop.fields.header.name", "to.drop"), ("drop.fields.from.key", "true"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError):
        Options.of({name: value})


def test_lists_keys_and_masks_are_read() -> None:
    options = Options.of({
        "table.include.list": r"public\.orders, public\.items", "message.key.columns": r"public.orders:id,at;(.*).items:id",
        "column.mask.hash.SHA-256.with.salt.a.b": "public.people.name", "column.mask.with.5.chars": ".*.phone",
        "skipped.operations": "none", "column.exclude.list": r"public\.orders\.secret",
    })  # fmt: skip
    assert options.takes("public.Orders")
    assert not options.takes("public.orders2")
    assert options.key("public.orders") == ("id", "at")
    assert options.key("any.items") == ("id",)
    assert options.key("public.people") is None
    assert options.mask("public.people.name") == ("hash", "SHA-256", 1, "a.b")
    assert options.mask("x.y.phone") == ("chars", "", 5, "")
    assert options.skipped_operations == ()
    assert options.takes_column("public.orders.id")
    assert not options.takes_column("public.orders.secret")
    assert "topic.prefix" in NAMES


@pytest.mark.parametrize(
    ("form", "name", "value", "remedy"),
    [
        ("debezium", "add.fields", "op", "debezium-unwrapped"), ("bitvelocity", "add.headers", "op", "debezium-unwrapped"),
        ("debezium", "delete.tombstone.handling.mode", "rewrite", "debezium-unwrapped"),
        ("bitvelocity", "decimal.handling.mode", "precise", "Leave"),
        ("debezium-unwrapped", "add.fields", "op,nonsense", "txId"), ("debezium-unwrapped", "add.headers", "source.op", "ts_ms"),
    ],
)  # fmt: skip
def test_what_would_do_nothing_in_a_format_is_refused(form: str, name: str, value: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} (does nothing|cannot add)") as caught:
        options_for(form, {name: value})
    assert remedy in str(caught.value.remedy)


def test_what_does_something_in_a_format_is_taken() -> None:
    given = {"add.fields": "op,source.ts_ms,lsn:position,transaction.id", "delete.tombstone.handling.mode": "rewrite"}
    assert options_for("debezium-unwrapped", given) == Options.of(given)
    assert options_for("debezium", {"decimal.handling.mode": "double"}).decimal_handling_mode == "double"
