"""Rules of contracts: clients run them; here they are kept, and refused where no client could run them."""

from __future__ import annotations

import json
from typing import Any

from .refusals import invalid_rules

_KINDS = ("CONDITION", "TRANSFORM")
_READING, _MOVING = ("READ", "WRITE", "WRITEREAD"), ("UPGRADE", "DOWNGRADE", "UPDOWN")
_MODES = {"domainRules": _READING, "encodingRules": _READING, "migrationRules": _MOVING}


def check_rules(given: Any) -> Any:
    """The set of rules, if clients can run it."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise invalid_rules("it is no object")
    for part, modes in _MODES.items():
        rules = given.get(part) or []
        if not isinstance(rules, list):
            raise invalid_rules(f"{part} is no list")
        for rule in rules:
            _check(rule, part, modes)
    return given


def _check(rule: Any, part: str, modes: tuple[str, ...]) -> None:
    if not isinstance(rule, dict) or not isinstance(rule.get("name"), str) or not rule["name"].strip():
        raise invalid_rules(f"a rule in {part} has no name")
    for word, known in (("mode", modes), ("kind", _KINDS)):
        if rule.get(word) not in known:
            raise invalid_rules(f"the {word} of {rule['name']!r} in {part} is none of {', '.join(known)}")


def merged_rules(default: Any, own: str | None, override: Any) -> dict[str, Any]:
    """Lists of rules in which a name stands once: a later layer's rule takes the place of one that is called the same."""
    merged: dict[str, Any] = {}
    for layer in (default, json.loads(own) if own else None, override):
        for part, value in (layer or {}).items():
            if part not in _MODES:
                merged[part] = value
                continue
            named = {rule["name"]: rule for rule in (*merged.get(part, ()), *value)}
            merged[part] = list(named.values())
    return merged
