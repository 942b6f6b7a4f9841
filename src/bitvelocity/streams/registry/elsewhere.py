"""What registries that are not ours leave out: they are asked in their words, and what they do not judge is judged here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ...errors import RegistryError
from .callers import Caller, StoreCaller
from .forms import FORMS, Import, Parsed
from .meanings import MISMATCH

_NOT_THERE = "404"
"""Apicurio has no such call, or the subject is not there: 404, 40401, 40402."""


def every_version(caller: Caller, *, deleted: bool) -> list[dict[str, Any]]:
    """All versions of all subjects; where they cannot be listed at once, one by one."""
    try:
        return list(caller.ask("GET", "schemas?deleted=true" if deleted else "schemas"))
    except RegistryError as error:
        if not error.code.startswith(_NOT_THERE):
            raise
    return list(_one_by_one(caller, "?deleted=true" if deleted else ""))


def _one_by_one(caller: Caller, said: str) -> Iterator[dict[str, Any]]:
    for subject in caller.ask("GET", f"subjects{said}"):
        path = f"subjects/{quote(subject, safe='')}/versions"
        live = asked(caller, path) or []
        for version in (asked(caller, f"{path}{said}") or []) if said else live:
            gone = {} if version in live else {"deleted": True}
            yield {**caller.ask("GET", f"{path}/{version}{said}"), **gone}


def newest_first(caller: Caller, subject: str) -> Iterator[dict[str, Any]]:
    """A subject's versions, asked for one by one; nothing if it is not there."""
    path = f"subjects/{quote(subject, safe='')}/versions"
    latest = asked(caller, f"{path}/latest")
    if latest is not None:
        yield latest
        rest = (version for version in asked(caller, path) or [] if version != latest["version"])
        yield from (caller.ask("GET", f"{path}/{version}") for version in sorted(rest, reverse=True))


def asked(caller: Caller, path: str) -> Any:
    """The answer; None if there is nothing."""
    try:
        return caller.ask("GET", path)
    except RegistryError as error:
        if error.code.startswith(_NOT_THERE):
            return None
        raise


def judged(caller: Caller, subject: str, body: Mapping[str, Any], *, normalize: bool = False) -> tuple[list[str], list[tuple[int, Any]]]:
    """What stands against a schema: the registry's own messages, and, where it is not ours, by version what it does not ask.

    Against a subject that is not there nothing stands, whatever the registry answers.
    """
    path, asking = f"compatibility/subjects/{quote(subject, safe='')}/versions", f"?verbose=true{'&normalize=true' if normalize else ''}"
    try:
        answers = [caller.ask("POST", f"{path}{asking}", body)]
    except RegistryError as error:
        if not error.code.startswith(_NOT_THERE):
            raise
        answers = list(_by_version(caller, subject, f"{path}/{{}}{asking}", body)) if error.code == _NOT_THERE else []
    said = [one for answer in answers if not answer["is_compatible"] for one in answer.get("messages") or ["the registry says no more"]]
    return said, [] if _is_ours(caller) else list(_unasked(caller, subject, body))


def _by_version(caller: Caller, subject: str, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Answers of a registry that judges against one version at a time (Karapace): of those that its level tells."""
    name = quote(subject, safe="")
    level = asked(caller, f"config/{name}?defaultToGlobal=true") or asked(caller, "config") or {}
    versions = asked(caller, f"subjects/{name}/versions") or []
    for version in versions if "TRANSITIVE" in str(level.get("compatibilityLevel")) else versions[-1:]:
        yield caller.ask("POST", path.format(version), body)


def _is_ours(caller: Caller) -> bool:
    told = isinstance(caller, StoreCaller) or asked(caller, "v1/metadata/id")
    return told is True or (isinstance(told, dict) and "bitvelocity" in str(told.get("scope")))


def _unasked(caller: Caller, subject: str, body: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """Decimals and times that would be read as others: no registry but ours holds them against each other."""
    path = f"subjects/{quote(subject, safe='')}/versions"
    reader = _read(body, texts_of(body, lambda below: caller.ask("GET", below)))
    for version in (asked(caller, path) or []) if reader else []:
        held = caller.ask("GET", f"{path}/{version}")
        writer = _read(held, texts_of(held, lambda below: caller.ask("GET", below)))
        if writer and reader and _kind(held) == _kind(body):
            found = FORMS[_kind(body)].objections(reader, writer, "STRICT")
            yield from ((version, one) for one in found if one.kind == MISMATCH)


def _kind(schema: Mapping[str, Any]) -> Any:
    return schema.get("schemaType") or "AVRO"


def _read(schema: Mapping[str, Any], imports: Mapping[str, str]) -> Parsed | None:
    """What we cannot read is left to the registry that took it."""
    try:
        return FORMS[_kind(schema)].read(schema["schema"], [Import(name, text) for name, text in imports.items()])
    except (RegistryError, KeyError):
        return None


def _text(held: Any, _: Mapping[str, str]) -> str:
    return str(held["schema"])


def texts_of(
    schema: Mapping[str, Any], ask: Callable[[str], Any], text: Callable[[Any, Mapping[str, str]], str] = _text
) -> dict[str, str]:
    """Texts of all schemas that this one needs, each before those that need it; `text` is given each with its own."""
    texts: dict[str, str] = {}
    references: Sequence[Any] = schema.get("references") or ()
    for one in references:
        held = ask(f"subjects/{quote(one['subject'], safe='')}/versions/{one['version']}")
        below = texts_of(held, ask, text)
        texts |= below
        texts[one["name"]] = text(held, below)
    return texts
