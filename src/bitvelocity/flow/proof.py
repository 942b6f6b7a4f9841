"""Prove at one position that silver equals the source and gold equals its full recompute."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..capture import Export, export_tables
from ..changes import format_lsn
from ..lakehouse import EntityVerdict, ModelVerdict, compare_gold, compare_silver
from .companion import Check
from .database import Database
from .foreign import check_database
from .project import Project
from .reading import open_reader
from .waiting import flowing, read_since, wait_for_new_tables, wait_until

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome: one line per entity and model, all at `lsn`."""

    lsn: int
    entities: tuple[EntityVerdict, ...]
    models: tuple[ModelVerdict, ...]
    seconds: float
    uncompared: tuple[str, ...] = ()
    """Entities without a key: bronze has their changes, but no row of them can be told from another."""

    @property
    def ok(self) -> bool:
        return all(entity.ok for entity in self.entities) and all(model.ok for model in self.models)

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "position": format_lsn(self.lsn),
            "entities": [entity.as_dict() for entity in self.entities],
            "models": [model.as_dict() for model in self.models],
            "uncompared": self.uncompared,
            "seconds": round(self.seconds, 3),
        }


def reconcile(project: Project, database: Database, say: Say = lambda _: None) -> Verdict:
    """Prove it beside a running `up`, or with a pipeline of our own for as long as it takes."""
    with flowing(project, database) as check:
        return prove(project, database, check, say)


def prove(project: Project, database: Database, check: Check, say: Say = lambda _: None) -> Verdict:
    """Copy the source at one position, let the lake pass it, and compare; the source goes on being written to."""
    check_database(project, "A proof compares the lake with the database at one position.")
    began = time.monotonic()
    keyed = [spec for spec in project.specs if spec.key]
    keyless = tuple(spec.name for spec in project.specs if not spec.key)
    folder = project.settings.state_folder / "reconcile"
    try:
        wait_until(project, 0, check)  # a first snapshot that came after the copy would look as if all were missing
        wait_for_new_tables(project, check)
        while True:
            asked = time.time()
            say("Copying the source at one position")
            export = export_tables(database.dsn, keyed, folder, primary=project.settings.capture.primary)
            say(f"Waiting for the lake to pass {format_lsn(export.lsn)}")
            wait_until(project, export.marker, check)
            if not read_since(project, asked):
                break
            wait_for_new_tables(project, check)  # altered not long ago: what was read stands above the copy
        entities, models = _compare(project, export, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Verdict(export.lsn, entities, models, time.monotonic() - began, keyless)


def _compare(
    project: Project, export: Export, say: Say
) -> tuple[tuple[EntityVerdict, ...], tuple[ModelVerdict, ...]]:
    entities, models = [], []
    with open_reader(project) as reader:
        for spec in project.kept:
            if spec.key:
                say(f"Comparing silver.{spec.name}")
                entities.append(compare_silver(reader, spec, export.files[spec.name], export.lsn))
        for model in project.models:
            say(f"Recomputing gold.{model.name}")
            models.append(compare_gold(reader, model))
    return tuple(entities), tuple(models)
