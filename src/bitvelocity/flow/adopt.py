"""Make a project around a database that is there already."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..contracts import render_entities
from ..errors import SettingsError
from ..oltp import Adoption, adopt, has_password
from ..settings import FILE_NAME

TOML = '''# Made by `bitvelocity adopt`. The database stays as it is: nothing here alters its tables.
[project]
name = {name}

[database]
dsn = {dsn}{note}
'''


def adopt_database(dsn: str, folder: Path, schemas: Sequence[str] | None) -> Adoption:
    """Read the database and write `folder`, new or empty: entities.py and bitvelocity.toml."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "a project already" if (folder / FILE_NAME).exists() else "not an empty folder"
        raise SettingsError(
            f"{folder} is {what}.", safe="Nothing was written.", remedy="Choose another folder with --into."
        )
    adoption = adopt(dsn, schemas=schemas)
    try:
        _write(folder, dsn, adoption)
    except OSError as error:
        raise SettingsError(
            f"{error.filename or folder} cannot be written: {error.strerror}.",
            remedy="Choose a folder with --into that you may write to.",
        ) from error
    return adoption


def _write(folder: Path, dsn: str, adoption: Adoption) -> None:
    (folder / "models").mkdir(parents=True)
    (folder / "entities.py").write_text(render_entities(adoption.specs), encoding="utf-8")
    secret = has_password(dsn)
    text = TOML.format(
        name=_quoted(folder.resolve().name),
        dsn=_quoted("${BITVELOCITY_DSN}" if secret else dsn),
        note="  # it holds a password, so it stays in the environment" if secret else "",
    )
    (folder / FILE_NAME).write_text(text, encoding="utf-8")


def _quoted(text: str) -> str:
    """A string of TOML: for what stands in names and DSNs, JSON's escapes are its own."""
    return json.dumps(text, ensure_ascii=False)
