"""Open the lake of a project for reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import LakeError
from ..lakehouse import LakeReader, read_watermark
from .project import Project


@contextmanager
def open_reader(project: Project) -> Iterator[LakeReader]:
    """A reader at the newest published watermark; an empty lake is a clear error."""
    if read_watermark(project.lake) is None:
        raise LakeError(
            f"The lake at {project.lake} has nothing yet.",
            remedy="Run the pipeline first: bitvelocity up",
        )
    reader = LakeReader(project.lake, project.kept, project.models)
    try:
        reader.refresh()
        yield reader
    finally:
        reader.close()
