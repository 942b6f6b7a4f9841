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
    """Read the database and write `folder`: entities.py and bitvelocity.toml. An existing project is refused."""
    if (folder / FILE_NAME).exists():
        raise SettingsError(
            f"{folder} is a project already.", remedy="Choose another folder with --into, or remove that one."
        )
    adoption = adopt(dsn, schemas=schemas)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "entities.py").write_text(render_entities(adoption.specs), encoding="utf-8")
    secret = has_password(dsn)
    text = TOML.format(
        name=_quoted(folder.resolve().name),
        dsn=_quoted("${BITVELOCITY_DSN}" if secret else dsn),
        note="  # it holds a password, so it stays in the environment" if secret else "",
    )
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    return adoption


def _quoted(text: str) -> str:
    """A string of TOML: for what stands in names and DSNs, JSON's escapes are its own."""
    return json.dumps(text, ensure_ascii=False)
