"""Options that a format would pass over without a word: refused, with what to do instead."""

from __future__ import annotations

from collections.abc import Mapping

from .options import Options, wrong
from .unwrapped import ADDABLE, added

_UNWRAPPED = frozenset({
    "add.fields", "add.fields.prefix", "add.headers", "add.headers.prefix", "delete.tombstone.handling.mode",
})  # fmt: skip
_DECIDED = frozenset({
    "decimal.handling.mode", "time.precision.mode", "interval.handling.mode", "binary.handling.mode", "hstore.handling.mode",
})  # fmt: skip
"""`own_options` sets these."""


def options_for(form: str, given: Mapping[str, str]) -> Options:
    """As `Options.of`, for one format: an option that would do nothing in it is an error too."""
    options = Options.of(given)
    for name in given:
        if name in _UNWRAPPED and form != "debezium-unwrapped":
            raise wrong(
                name, f"{name} does nothing in the format {form}: it is an option of debezium-unwrapped.",
                f'Take the format "debezium-unwrapped", or leave {name} out.',
            )  # fmt: skip
        if name in _DECIDED and form == "bitvelocity":
            raise wrong(
                name, f"{name} does nothing in the format bitvelocity: its values are exact, in one form each.",
                f'Leave {name} out, or take the format "debezium" or "debezium-unwrapped".',
            )  # fmt: skip
    for name, words in (("add.fields", options.add_fields), ("add.headers", options.add_headers)):
        for word in words:
            if not added((word,), ""):
                raise wrong(name, f"{name} cannot add {word!r}: no envelope has it.", f"It is a list of: {', '.join(ADDABLE)}.")
    return options


__all__ = ["options_for"]
