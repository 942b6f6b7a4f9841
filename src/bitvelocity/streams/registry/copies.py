"""A whole registry as one document, and back: every id, version, deletion, level and mode as it was."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ...errors import RegistryError
from .callers import Caller
from .elsewhere import asked, every_version

FORM = "bitvelocity-registry/1"


def export_registry(caller: Caller) -> dict[str, Any]:
    """Everything that a registry keeps, except what was deleted for good."""
    schemas = every_version(caller, deleted=True)
    subjects = sorted({one["subject"] for one in schemas})
    configs = {name: held for name in subjects if (held := asked(caller, f"config/{_escaped(name)}"))}
    modes = {name: held["mode"] for name in subjects if (held := asked(caller, f"mode/{_escaped(name)}"))}
    return {
        "form": FORM,
        "config": caller.ask("GET", "config"),
        "mode": (asked(caller, "mode") or {"mode": "READWRITE"})["mode"],
        "configs": configs,
        "modes": modes,
        "schemas": sorted(schemas, key=lambda one: (one["id"], one["subject"], one["version"])),
    }


def import_registry(caller: Caller, document: Any) -> int:
    """Write an exported document into a registry; what is there already must be the same. Gives the number of versions.

    Each subject stands in IMPORT mode while it is written. What fails leaves what was written; importing again goes on.
    """
    if not isinstance(document, dict) or document.get("form") != FORM:
        raise RegistryError(f"This is no export of a registry (form {FORM}).", remedy="Make one: bitvelocity schema export")
    subjects = list(dict.fromkeys(one["subject"] for one in document["schemas"]))
    for subject in subjects:
        caller.ask("PUT", f"mode/{_escaped(subject)}?force=true", {"mode": "IMPORT"})
    try:
        for one in document["schemas"]:
            _import_version(caller, one)
        _hide(caller, document["schemas"])
    finally:
        for subject in subjects:
            caller.ask("DELETE", f"mode/{_escaped(subject)}")
    _set(caller, document)
    return len(document["schemas"])


def _import_version(caller: Caller, one: dict[str, Any]) -> None:
    body = {key: value for key, value in one.items() if key not in ("subject", "guid", "deleted", "ts")}
    caller.ask("POST", f"subjects/{_escaped(one['subject'])}/versions", body)


def _hide(caller: Caller, schemas: list[dict[str, Any]]) -> None:
    """What was soft-deleted is so again, those that refer to others first."""
    for one in reversed([one for one in schemas if one.get("deleted")]):
        path = f"subjects/{_escaped(one['subject'])}/versions"
        held = caller.ask("GET", path) if asked(caller, path) else []
        if one["version"] in held:
            caller.ask("DELETE", f"{path}/{one['version']}")


def _set(caller: Caller, document: dict[str, Any]) -> None:
    caller.ask("PUT", "config", _as_request(document["config"]))
    for subject, held in document["configs"].items():
        caller.ask("PUT", f"config/{_escaped(subject)}", _as_request(held))
    for subject, mode in document["modes"].items():
        caller.ask("PUT", f"mode/{_escaped(subject)}?force=true", {"mode": mode})
    if document["mode"] != "READWRITE":
        caller.ask("PUT", "mode?force=true", {"mode": document["mode"]})


def _as_request(held: dict[str, Any]) -> dict[str, Any]:
    """An answer says compatibilityLevel, a request compatibility."""
    rest = {key: value for key, value in held.items() if key != "compatibilityLevel"}
    return {**rest, "compatibility": held["compatibilityLevel"]} if "compatibilityLevel" in held else rest


def _escaped(subject: str) -> str:
    return quote(subject, safe="")
