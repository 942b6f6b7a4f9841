"""A small project whose database is the run's, with a slot of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bitvelocity.flow import Project, open_project

ENTITIES = '''
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
    name: str | None
'''
MODEL = """-- model: counted
-- key: name
-- columns:
--   name  text
--   n     bigint
select name, count(*) as n from silver.things group by name
"""


@pytest.fixture
def make_project(open_folder: Path) -> Callable[[str], Project]:
    """A project without a lake; `dsn` empty is the embedded server, which is not started."""

    def make(dsn: str = "") -> Project:
        folder = open_folder / "project"
        (folder / "models").mkdir(parents=True)
        (folder / "entities.py").write_text(ENTITIES)
        (folder / "models" / "counted.sql").write_text(MODEL)
        slot = f"flow_{os.getpid()}_{open_folder.name.lower().replace('-', '_')}"
        (folder / "bitvelocity.toml").write_text(f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "{slot}"\n')
        return open_project(folder)

    return make
