"""Projects to start from: their files, copied to where the user wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import SettingsError
from ..settings import FILE_NAME
from .topics import topics_readme, topics_section

PROJECTS: dict[str, tuple[str, ...]] = {
    "commerce": ("bitvelocity.toml", "README.md", "entities.py", "models/*.sql", ".gitignore"),
}
"""Each project's own files; what lies beside them belongs to the package."""


def copy_project(name: str, target: Path, servers: Sequence[str] = ()) -> list[Path]:
    """Copy the files of project `name` into `target`, a new or empty folder; returns them, sorted.

    Its settings then have topics on these servers too.
    """
    source = project_folder(name)
    _refuse_taken(target)
    try:
        files = sorted(_copy(file, source, target) for pattern in PROJECTS[name] for file in source.glob(pattern))
        with (target / FILE_NAME).open("a") as settings:
            settings.write(topics_section(servers))
        with (target / "README.md").open("a") as readme:
            readme.write(topics_readme(servers))
    except OSError as error:
        raise SettingsError(
            f"{error.filename or target} cannot be written: {error.strerror}.",
            remedy="Name a folder that you may write to.",
        ) from error
    return files


def project_folder(name: str) -> Path:
    """Where the project's files lie in the package."""
    if name not in PROJECTS:
        raise SettingsError(f"There is no project {name!r}.", remedy=f"There is: {', '.join(PROJECTS)}.")
    return Path(__file__).parent / name


def _copy(file: Path, source: Path, target: Path) -> Path:
    copy = target / file.relative_to(source)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(file.read_bytes())
    return copy


def _refuse_taken(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SettingsError(
            f"{target} is not an empty folder.",
            safe="Nothing was written.",
            remedy="Name a new folder: bitvelocity init my-shop",
        )
