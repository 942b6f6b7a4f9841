"""From the text of `bitvelocity.toml` and the environment to the typed sections: every mistake is named where it stands."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from ..errors import SettingsError
from .checks import check_values
from .sections import ConsumerSettings, DatabaseSettings, RouteSettings, Settings

FILE_NAME = "bitvelocity.toml"
_LISTS = {"routes": RouteSettings, "consumers": ConsumerSettings}
"""Sections that there may be several of."""


def load_settings(start: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the project that holds `start`, found as git finds its folder: upwards."""
    file = find_project(start)
    try:
        raw = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}", remedy="Correct the file; it is TOML.") from error
    sections = _sections(raw, file, environment)
    settings = Settings(root=file.parent, **sections)
    check_values(settings, file)
    if dsn := environment.get("BITVELOCITY_DSN"):
        database = DatabaseSettings(dsn=dsn, port=settings.database.port)
        settings = Settings(root=file.parent, **{**sections, "database": database})
    return settings


def find_project(start: Path) -> Path:
    """The nearest `bitvelocity.toml` at or above `start`."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise SettingsError(
        f"There is no {FILE_NAME} in {start.resolve()} or above it.",
        remedy="Go into a project's folder, or make one: bitvelocity init my-shop",
    )


def _sections(raw: dict[str, Any], file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    kinds = {name: kind for name, kind in get_type_hints(Settings).items() if is_dataclass(kind)}
    for name in raw:
        if name not in kinds and name not in _LISTS:
            raise _unknown(file, f"[{name}]", name, [*kinds, *_LISTS])
    told = {
        name: _section(kind, raw.get(name, {}), path=f"[{name}]", file=file, environment=environment)
        for name, kind in kinds.items()
    }
    return told | {name: _tables(name, raw.get(name, []), file, environment) for name in _LISTS}


def _tables(name: str, raw: Any, file: Path, environment: Mapping[str, str]) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise SettingsError(f"{file}: {name} must be a list of tables.", remedy=f"Write each as a section: [[{name}]]")
    return tuple(_section(_LISTS[name], one, path=f"[[{name}]]", file=file, environment=environment) for one in raw)


def _section(kind: Any, raw: Any, *, path: str, file: Path, environment: Mapping[str, str]) -> Any:
    if not isinstance(raw, dict):
        raise SettingsError(f"{file}: {path} must be a table.", remedy=f"Write it as a section: {path}")
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    values = {}
    for name, value in raw.items():
        if name not in known:
            raise _unknown(file, f"{path} {name}", name, known)
        inner = f"{path[:-1]}.{name}]"
        if is_dataclass(hints[name]):
            values[name] = _section(hints[name], value, path=inner, file=file, environment=environment)
        elif get_origin(hints[name]) is Mapping:
            values[name] = _texts(value, path=inner, file=file, environment=environment)
        elif get_origin(hints[name]) is tuple:
            values[name] = _list(value, f"{path} {name}", file, environment)
        else:
            values[name] = _value(hints[name], _expand(value, f"{path} {name}", environment), f"{path} {name}", file)
    return kind(**values)


def _texts(raw: Any, *, path: str, file: Path, environment: Mapping[str, str]) -> Mapping[str, str]:
    """A table of free names. TOML reads a name with dots as tables within tables: they are put together again."""
    if not isinstance(raw, dict):
        raise SettingsError(f"{file}: {path} must be a table.", remedy=f"Write it as a section: {path}")
    found: dict[str, str] = {}
    for name, value in raw.items():
        if isinstance(value, dict):
            inner = _texts(value, path=path, file=file, environment=environment)
            found.update({f"{name}.{rest}": text for rest, text in inner.items()})
        elif isinstance(value, str | int | float):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found[name] = _expand(text, f"{path} {name}", environment)
        else:
            raise SettingsError(f"{file}: {path} {name} must be a text, a number or a truth.", remedy="Write it as a text.")
    return found


def _list(value: Any, path: str, file: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise SettingsError(f"{file}: {path}: expected a list, got {type(value).__name__}.", remedy='Write ["...", "..."].')
    return tuple(_value(str, _expand(one, path, environment), path, file) for one in value)


def _value(kind: type, value: Any, path: str, file: Path) -> Any:
    if type(value) is not kind:
        raise SettingsError(
            f"{file}: {path}: expected {kind.__name__}, got {type(value).__name__}.",
            remedy=f"Give a value of type {kind.__name__}.",
        )
    return value


def _expand(value: Any, path: str, environment: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise SettingsError(
                f"{path} asks for the environment variable {name}, which is not set.",
                remedy=f"Set it: export {name}=...",
            )
        return environment[name]

    return re.sub(r"\$\{(\w+)\}", look_up, value)


def _unknown(file: Path, path: str, name: str, known: list[str]) -> SettingsError:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return SettingsError(f"{file}: {path} is not a setting.", remedy=f"{hint}Known: {', '.join(known)}.")
