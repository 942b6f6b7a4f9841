"""Projects to start from: `bitvelocity init` copies one, `bitvelocity demo` runs it on real data."""

from __future__ import annotations

from pathlib import Path

from ..errors import SettingsError

__all__ = ["PROJECTS", "copy_project"]

PROJECTS: dict[str, tuple[str, ...]] = {
    "commerce": ("bitvelocity.toml", "README.md", "entities.py", "models/*.sql", ".gitignore"),
}
"""Each project's own files; what lies beside them belongs to the package."""


def copy_project(name: str, target: Path) -> list[Path]:
    """Copy the files of project `name` into `target`, a new or empty folder; returns them, sorted."""
    if name not in PROJECTS:
        raise SettingsError(f"There is no project {name!r}.", remedy=f"There is: {', '.join(PROJECTS)}.")
    _refuse_taken(target)
    source = Path(__file__).parent / name
    copied = []
    for pattern in PROJECTS[name]:
        for file in source.glob(pattern):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
            copied.append(copy)
    return sorted(copied)


def _refuse_taken(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SettingsError(
            f"{target} is not an empty folder.",
            safe="Nothing was written.",
            remedy="Name a new folder: bitvelocity init my-shop",
        )
