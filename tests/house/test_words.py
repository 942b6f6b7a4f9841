"""A clone alone is enough: no file points out of it. And nothing is called by a name that says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NOT_OURS = {".git", ".venv", ".bitvelocity", "bitvelocity-demo", "__pycache__", "dist", "build", "out", ".hypothesis"}
EMPTY = re.compile(r"(?:^|[_.-])(?:utils?|helpers?|common|misc|managers?)(?:[_.-]|$)|^base\b")

CONFIG = {".toml", ".ini", ".cfg", ".yml", ".yaml", ".lock", ".txt"}
OUR_HOSTS = {"bitvelocity.dev", "127.0.0.1", "localhost", "json-schema.org", "www.apache.org", "www.w3.org"}
INDEX_OPTION = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host|\[\[tool\.uv\.index\]\]|^registry *=", re.M)

HOMES = re.compile(r"(?<![\w.~/])/(?:home|Users|root)/\w[\w./-]*")
CLIMB = re.compile(r"(?<![\w./])(?:\.\./)+[\w./-]*")
STANDARD = re.compile(r"/(?:bin|boot|dev|etc|home|lib\w*|media|mnt|opt|private|proc|root|run|sbin|srv|sys|tmp|usr|var|[A-Z]\w+)$")


def files() -> Iterator[Path]:
    """What a clone would hold, near enough: everything here but caches and products."""
    waiting = [ROOT]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if path.name in NOT_OURS or path.name.endswith(("_cache", ".egg-info")):
                continue
            if path.is_dir():
                waiting.append(path)
            else:
                yield path


def texts() -> Iterator[tuple[Path, str]]:
    for path in files():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # data, not text


def where(path: Path, text: str, start: int) -> str:
    line = text.count("\n", 0, start) + 1
    return f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[line - 1].strip()[:120]}"


def mentions(pattern: re.Pattern[str]) -> list[str]:
    return [where(path, text, found.start()) for path, text in texts() for found in pattern.finditer(text)]


def machine_paths() -> re.Pattern[str]:
    """People's homes, and the folder that this very checkout lies in, where that is no standard one."""
    places = [re.escape(str(place)) for place in ROOT.parents if len(place.parts) > 1]
    if not places or STANDARD.match("/" + ROOT.parts[1]):
        return HOMES
    return re.compile(rf"{HOMES.pattern}|(?<![\w./])(?:{'|'.join(places)})\b")


def test_every_name_says_what_it_holds() -> None:
    empty = [str(path) for path in files() if any(map(EMPTY.search, path.relative_to(ROOT).parts))]
    assert not empty, f"{empty}: a helper lives beside its only caller; with two it gets the name of what it knows."


def test_nothing_names_a_path_of_one_machine() -> None:
    assert not (found := mentions(machine_paths())), "\n" + "\n".join(found)


def test_nothing_climbs_out_of_the_clone() -> None:
    found = [
        where(path, text, step.start())
        for path, text in texts()
        for step in CLIMB.finditer(text)
        if not (path.parent / step.group()).resolve().is_relative_to(ROOT)
    ]
    assert not found, "\n" + "\n".join(found)


def test_configuration_names_no_foreign_host() -> None:
    """Where packages come from is a choice of the machine, never of the project."""
    config = [(path, text) for path, text in texts() if path.suffix in CONFIG or path.parent.name == ".ci"]
    found = [
        where(path, text, link.start())
        for path, text in config
        for link in re.finditer(r"https?://([\w.-]+)", text)
        if link.group(1) not in OUR_HOSTS
    ]
    found += [where(path, text, option.start()) for path, text in config for option in INDEX_OPTION.finditer(text)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("pattern", "found", "passed"),
    [
        (EMPTY, "date_utils.py", "database.py"),
        (EMPTY, "base.py", "base_image"),
        (HOMES, f"/{'home'}/ada/x", "/usr/lib/postgresql"),
        (CLIMB, f"see {'../' * 9}x", "a/b/c"),
        (INDEX_OPTION, f"pip --{'index-url'} x", "pip install x"),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[str], found: str, passed: str) -> None:
    assert pattern.search(found)
    assert not pattern.search(passed)
