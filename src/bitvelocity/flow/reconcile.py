"""Prove at one position that silver equals the source and gold equals its full recompute."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..capture import export_tables
from ..changes import format_lsn
from ..lakehouse import EntityVerdict, ModelVerdict, compare_gold, compare_silver
from .database import Database
from .project import Project
from .reading import open_reader
from .waiting import flowing, wait_until


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome: one line per entity and model, all at `lsn`."""

    lsn: int
    entities: tuple[EntityVerdict, ...]
    models: tuple[ModelVerdict, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return all(entity.ok for entity in self.entities) and all(model.ok for model in self.models)

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "position": format_lsn(self.lsn),
            "entities": [entity.as_dict() for entity in self.entities],
            "models": [model.as_dict() for model in self.models],
            "seconds": round(self.seconds, 3),
        }


def reconcile(project: Project, database: Database, say: Callable[[str], None] = lambda _: None) -> Verdict:
    """Copy the source at one position, let the lake pass it, and compare; the source goes on being written to."""
    began = time.monotonic()
    keyed = [spec for spec in project.specs if spec.key]
    folder = project.settings.state_folder / "reconcile"
    try:
        with flowing(project, database) as check:
            say("Copying the source at one position")
            export = export_tables(database.dsn, keyed, folder)
            say(f"Waiting for the lake to pass {format_lsn(export.lsn)}")
            wait_until(project, export.marker, check)
            with open_reader(project) as reader:
                entities = []
                for spec in keyed:
                    say(f"Comparing silver.{spec.name}")
                    entities.append(compare_silver(reader, spec, export.files[spec.name], export.lsn))
                models = []
                for model in project.models:
                    say(f"Recomputing gold.{model.name}")
                    models.append(compare_gold(reader, model))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Verdict(export.lsn, tuple(entities), tuple(models), time.monotonic() - began)
