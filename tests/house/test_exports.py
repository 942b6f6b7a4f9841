"""What a folder lets others use is written down in its `__all__`, and nothing else is there."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import bitvelocity

ROOM_AT_THE_TOP = 15

FOLDERS = [
    "bitvelocity",
    *(found.name for found in pkgutil.walk_packages(bitvelocity.__path__, "bitvelocity.") if found.ispkg),
]


def public(module: ModuleType) -> set[str]:
    """Names of ours bound in a module for others. What it borrows from elsewhere is its own business."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name not in ("annotations", "TYPE_CHECKING")
        and getattr(value, "__module__", "bitvelocity").startswith("bitvelocity")
    }


def test_every_folder_is_a_package() -> None:
    """One without `__init__.py` would be out of sight of the import contracts. Templates hold plain files as well."""
    root = Path(bitvelocity.__path__[0])
    folders = {file.parent for file in root.rglob("*.py") if root / "templates" not in file.parents}
    assert not (bare := [str(folder) for folder in folders if not (folder / "__init__.py").exists()]), bare


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_exports_what_it_says(folder: str) -> None:
    module = importlib.import_module(folder)
    said = set(getattr(module, "__all__", ()))
    missing = {name for name in said if not hasattr(module, name)}
    assert not missing, f"{folder}.__all__ names what is not there: {sorted(missing)}"
    unsaid = public(module) - said
    assert not unsaid, f"{folder} shows names that its __all__ does not list: {sorted(unsaid)}"


def test_the_root_stays_small() -> None:
    names = getattr(bitvelocity, "__all__", ())
    assert len(names) <= ROOM_AT_THE_TOP, f"{len(names)} names at the top: which of them can live in their folder?"
