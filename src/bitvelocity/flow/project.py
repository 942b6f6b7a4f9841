"""A project as the flow sees it: settings, entities, models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..contracts import EntitySpec, load_specs
from ..errors import SettingsError
from ..lakehouse import as_stored
from ..lakehouse.gold import Model, load_models
from ..settings import ProjectSettings, Settings, load_settings


@dataclass(frozen=True, slots=True)
class Project:
    """Everything that is declared: what to make, what to capture, what to compute."""

    settings: Settings
    specs: tuple[EntitySpec, ...]
    kept: tuple[EntitySpec, ...]
    """The same as the lake has them: columns that an earlier version stored as text are text."""
    models: tuple[Model, ...]

    @property
    def root(self) -> Path:
        return self.settings.root

    @property
    def lake(self) -> Path:
        return self.settings.lake_folder

    @property
    def embedded(self) -> bool:
        """No DSN is configured: PostgreSQL runs inside the project."""
        return not self.settings.database.dsn

    def spec(self, name: str) -> EntitySpec | None:
        """The entity called so in the lake, or by its table's name."""
        for spec in self.specs:
            if name in (spec.name, spec.table, spec.qualified):
                return spec
        return None


def open_project(start: Path) -> Project:
    """Load the project that holds `start`: every wrong setting, entity or model is found here."""
    settings = load_settings(start)
    specs = load_specs(settings.entities_file)
    kept = as_stored(settings.lake_folder, specs)
    models = load_models(settings.models_folder, kept) if _has_models(settings) else ()
    return Project(settings, specs, kept, models)


def _has_models(settings: Settings) -> bool:
    """The folder of the models is there; only when nobody named one may it be missing."""
    folder = settings.models_folder
    if not folder.is_dir() and (folder.exists() or settings.project.models != ProjectSettings().models):
        raise SettingsError(
            f"[project] models: {folder} is no folder.", remedy="Make the folder, or name the one that has the models."
        )
    return folder.is_dir()
