"""Compatibility levels and modes: set for a subject, a context, or all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast, get_args

from . import rows
from .refusals import invalid_level, invalid_mode, no_subject_config, no_subject_mode, not_permitted
from .rows import Run
from .rules import check_rules
from .subjects import GLOBAL, Subject

Level = Literal[
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"
]  # fmt: skip
LEVELS: tuple[Level, ...] = get_args(Level)
Mode = Literal["READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT"]
MODES: tuple[Mode, ...] = get_args(Mode)

DEFAULT_LEVEL: Level = "BACKWARD_TRANSITIVE"
"""Topics are replayed from their beginning, so that every live version must stay readable."""

_LEVEL, _GROUP, _NORMALIZE, _POLICY = "compatibilityLevel", "compatibilityGroup", "normalize", "compatibilityPolicy"
_KEPT = (
    _GROUP, _NORMALIZE, _POLICY, "alias", "defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet",
)  # fmt: skip


def config(run: Run, subject: Subject) -> dict[str, Any]:
    """What holds for a subject: its own settings, those of its context, those for all, the defaults."""
    merged: dict[str, Any] = {_LEVEL: DEFAULT_LEVEL}
    for place in reversed(list(_places(subject))):
        merged |= rows.setting(run, place)[0] or {}
    return merged


def own_config(run: Run, subject: Subject) -> dict[str, Any]:
    """What is set for exactly this subject."""
    held = rows.setting(run, subject)[0]
    if held is None:
        if subject == GLOBAL:
            return {_LEVEL: DEFAULT_LEVEL}
        raise no_subject_config(subject)
    return held


def set_config(run: Run, subject: Subject, body: dict[str, Any]) -> dict[str, Any]:
    """Set what the request names; gives the request's own words, as its senders expect."""
    given = {key: body[key] for key in _KEPT if body.get(key) is not None}
    for name in ("defaultRuleSet", "overrideRuleSet"):
        check_rules(given.get(name))
    level = body.get("compatibility") or body.get(_LEVEL)
    if level is not None or not given:
        given[_LEVEL] = read_level(level)
    if given.get(_POLICY, "STRICT") not in ("STRICT", "LENIENT"):
        raise invalid_level(given[_POLICY])
    rows.set_config(run, subject, {**(rows.setting(run, subject)[0] or {}), **given})
    said = {key: value for key, value in given.items() if key != _LEVEL}
    return {"compatibility": given[_LEVEL], **said} if _LEVEL in given else said


def delete_config(run: Run, subject: Subject) -> dict[str, Any]:
    """Forget what is set; gives what it was."""
    held = own_config(run, subject)
    rows.set_config(run, subject, None)
    return held


def read_level(text: Any) -> Level:
    level = str(text).upper()
    if level not in LEVELS:
        raise invalid_level(text)
    return level


def mode(run: Run, subject: Subject) -> Mode:
    """The mode that holds for a subject. READONLY_OVERRIDE for all wins over every subject's own."""
    if rows.setting(run, GLOBAL)[1] == "READONLY_OVERRIDE":
        return "READONLY_OVERRIDE"
    for place in _places(subject):
        held = rows.setting(run, place)[1]
        if held:
            return cast("Mode", held)
    return "READWRITE"


def own_mode(run: Run, subject: Subject) -> Mode:
    held = rows.setting(run, subject)[1]
    if not held:
        if subject == GLOBAL:
            return "READWRITE"
        raise no_subject_mode(subject)
    return cast("Mode", held)


def set_mode(run: Run, subject: Subject, text: Any, *, force: bool) -> Mode:
    """Set a mode. IMPORT asks for an empty subject, or ids that are in use could be given a second meaning."""
    if text not in MODES:
        raise invalid_mode(text)
    if text == "IMPORT" and not force and rows.setting(run, subject)[1] != "IMPORT" and _has_versions(run, subject):
        raise not_permitted(f"Cannot import since found existing subjects: {subject or 'some'}")
    rows.set_mode(run, subject, text)
    return cast("Mode", text)


def delete_mode(run: Run, subject: Subject) -> Mode:
    held = own_mode(run, subject)
    rows.set_mode(run, subject, None)
    return held


def check_writable(run: Run, subject: Subject) -> None:
    """Refuse a write where the mode forbids it."""
    if mode(run, subject) in ("READONLY", "READONLY_OVERRIDE"):
        raise not_permitted(f"Subject {subject} is in read-only mode")


def _places(subject: Subject) -> Iterator[Subject]:
    """Where a subject's settings may stand, the nearest first."""
    yield from dict.fromkeys((subject, subject.whole_context, GLOBAL))


def _has_versions(run: Run, subject: Subject) -> bool:
    if subject.name:
        return any(not one.deleted for one in rows.history(run, subject))
    return any(live and found.context == subject.context for found, live in rows.subjects(run))
