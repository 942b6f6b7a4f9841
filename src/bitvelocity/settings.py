"""What a project says about itself: `bitvelocity.toml` and the environment, typed and checked.

Every value may be `"${NAME}"`, taken from the environment: that is where secrets belong. `BITVELOCITY_DSN` wins over
`[database] dsn`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from .errors import SettingsError

FILE_NAME = "bitvelocity.toml"
SNAPSHOTS = ("initial", "never")


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    name: str = "project"
    entities: str = "entities.py"
    models: str = "models"


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """An empty `dsn` means: the embedded PostgreSQL, in `.bitvelocity/pg`."""

    dsn: str = ""
    port: int = 0
    """TCP port of the embedded server on 127.0.0.1; 0 takes a free one and keeps it."""


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    slot: str = "bitvelocity"
    publication: str = "bitvelocity"
    cycle_ms: int = 25
    """Shortest time between two commits to the lake while the stream is level: freshness against CPU."""
    snapshot: str = "initial"
    """`initial`: an empty lake begins with the tables as they are. `never`: it begins where the slot stands, which
    must exist; for tables whose whole history is in the slot."""


@dataclass(frozen=True, slots=True)
class LakeSettings:
    path: str = ".bitvelocity/lake"
    sync: bool = True
    """fsync every commit. Without it a power cut may lose what the source was told to forget."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole of `bitvelocity.toml`. `root` is the folder that it lies in."""

    root: Path
    project: ProjectSettings = field(default_factory=ProjectSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    lake: LakeSettings = field(default_factory=LakeSettings)

    @property
    def entities_file(self) -> Path:
        return self.root / self.project.entities

    @property
    def models_folder(self) -> Path:
        return self.root / self.project.models

    @property
    def state_folder(self) -> Path:
        """Where the project keeps what it makes itself: the embedded server, the lake, run files."""
        return self.root / ".bitvelocity"

    @property
    def lake_folder(self) -> Path:
        return self.root / self.lake.path


def load_settings(start: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the project that holds `start`, found as git finds its folder: upwards."""
    file = find_project(start)
    try:
        raw = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}", remedy="Correct the file; it is TOML.") from error
    sections = _sections(raw, file, environment)
    _check_snapshot(sections["capture"], file)
    settings = Settings(root=file.parent, **sections)
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


def _check_snapshot(capture: CaptureSettings, file: Path) -> None:
    if capture.snapshot not in SNAPSHOTS:
        raise SettingsError(
            f"{file}: [capture] snapshot is {capture.snapshot!r}.", remedy=f"Write one of: {', '.join(SNAPSHOTS)}."
        )


def _sections(raw: dict[str, Any], file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    kinds = {name: kind for name, kind in get_type_hints(Settings).items() if is_dataclass(kind)}
    for name in raw:
        if name not in kinds:
            raise _unknown(file, f"[{name}]", name, list(kinds))
    return {
        name: _section(kind, raw.get(name, {}), path=f"[{name}]", file=file, environment=environment)
        for name, kind in kinds.items()
    }


def _section(kind: Any, raw: Any, *, path: str, file: Path, environment: Mapping[str, str]) -> Any:
    if not isinstance(raw, dict):
        raise SettingsError(f"{file}: {path} must be a table.", remedy=f"Write it as a section: {path}")
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    values = {}
    for name, value in raw.items():
        if name not in known:
            raise _unknown(file, f"{path} {name}", name, known)
        values[name] = _value(hints[name], _expand(value, f"{path} {name}", environment), f"{path} {name}", file)
    return kind(**values)


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
