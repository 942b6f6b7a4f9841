"""`rebuild` from a project's side: what needs it is found, what is unknown is named, models see what is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from bitvelocity.changes import SYSTEM_FIELDS, Batch, Mark, Shape
from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.errors import LakeError
from bitvelocity.flow import Project, diagnose, open_project, rebuild_silver, renew_silver, status
from bitvelocity.lakehouse import Lake, Watermark, publish


def write(lake: Path, spec: EntitySpec, shape: Shape | None = None, **values: str) -> None:
    """One row, in a lake of its own process."""
    system = {name: pa.array([None], kind) for name, kind in SYSTEM_FIELDS}
    given = {"_op": pa.array(["c"]), "_lsn": pa.array([1]), "_ordinal": pa.array([0], pa.int32())}
    after = {f"after_{name}": pa.array([values.get(name)]) for name in spec.by_name}
    before = {f"before_{name}": pa.array([None], pa.string()) for name in spec.by_name}
    writer = Lake(lake, [spec], sync=False)
    writer.stage(Batch(spec.qualified, tuple(spec.by_name), pa.table({**system, **given, **after, **before}), shape))
    writer.commit(Mark(1, 1))
    publish(lake, Watermark(position=1, resume=1, tables=writer.versions()), sync=False)
    writer.close()


def test_an_altered_table_is_told_by_status_and_doctor(make_project: Callable[[str], Project]) -> None:
    project = make_project("")
    shown = with_tags(project.specs[0], Type("text"))
    write(project.lake, shown, Shape(7, (20, 25, 25), (-1, -1, -1), (True, False, False), "d"), id="1", name="a", tags="x")
    what = "things: public.things has a column tags that the entity does not know: only bronze keeps it (since 0/1)"
    assert any(note.startswith(what) and "bitvelocity snapshot start things" in note for note in status(project).notes)
    (check,) = [check for check in diagnose(project.root) if check.name == "entities"]
    assert (check.state, check.what) == ("warn", what)
    declare(project, "tags: str | None")
    assert not [check for check in diagnose(project.root) if check.name == "entities"]


def with_tags(spec: EntitySpec, kind: Type) -> EntitySpec:
    return dataclasses.replace(spec, columns=(*spec.columns, Column(name="tags", type=kind, nullable=True)))


def declare(project: Project, line: str) -> Project:
    entities = project.root / "entities.py"
    entities.write_text(entities.read_text().rstrip() + f"\n    {line}\n")
    return open_project(project.root)


def test_models_and_status_see_what_is_stored_until_it_is_rebuilt(make_project: Callable[[str], Project]) -> None:
    project = make_project("")
    write(project.lake, with_tags(project.specs[0], Type("other", native="text[]")), id="1", name="a", tags="{x}")
    project = declare(project, "tags: list[str] | None")
    assert project.kept[0].by_name["tags"].type.kind == "other"
    assert project.specs[0].by_name["tags"].type.kind == "array"
    assert any("silver.things.tags is text" in note for note in status(project).notes)
    assert renew_silver(project) == []
    assert [rebuilt.entity for rebuilt in rebuild_silver(project)] == ["things"]
    project = open_project(project.root)
    assert project.kept == project.specs
    assert rebuild_silver(project) == []
    assert not any("is text" in note for note in status(project).notes)


def test_a_column_of_another_type_is_made_anew_before_the_pipeline_starts(make_project: Callable[[str], Project]) -> None:
    project = make_project("")
    write(project.lake, with_tags(project.specs[0], Type("int32")), id="1", name="a", tags="7")
    project = declare(project, "tags: int | None")
    said: list[str] = []
    assert [rebuilt.rows for rebuilt in renew_silver(project, said.append)] == [1]
    assert said == ["Making silver.things anew from bronze: the column tags was int32 and is int64."]
    assert renew_silver(project) == []


def test_an_unknown_entity_is_named(make_project: Callable[[str], Project]) -> None:
    with pytest.raises(LakeError, match="no entity 'nothing'"):
        rebuild_silver(make_project(""), ["nothing"])
