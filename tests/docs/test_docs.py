"""The pages are part of the product: they are found, their links lead somewhere, their examples run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"

PAGES = sorted(DOCS.rglob("*.md"))
READABLE = [*PAGES, *sorted(ROOT.glob("*.md"))]

FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(?P<title>.+)$", re.M)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[tuple[Path, str]]:
    """Where a page points to within the clone: file and anchor."""
    targets = [found["target"] for found in LINK.finditer(prose(page))]
    local = [target.partition("#") for target in targets if not re.match(r"[a-z]+:", target)]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in local]


def anchors(page: Path) -> set[str]:
    """The anchors that a forge makes from headings."""
    titles = (found["title"].lower() for found in HEADING.finditer(prose(page)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def runnable(page: Path) -> str:
    """A page's blocks marked `python run`, one after the other, as one program."""
    blocks = FENCE.finditer(page.read_text(encoding="utf-8"))
    return "\n".join(block["code"] for block in blocks if block["info"].split() == ["python", "run"])


@pytest.mark.parametrize("page", [page for page in PAGES if page != INDEX], ids=name)
def test_every_page_is_in_the_index(page: Path) -> None:
    assert page in {target for target, _ in links(INDEX)}, f"docs/README.md does not link to {name(page)}"


@pytest.mark.parametrize("page", READABLE, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), f"{name(page)}: there is no {target}"
        assert target.is_relative_to(ROOT), f"{name(page)}: {target} is outside of a clone"
        assert not anchor or anchor in anchors(target), f"{name(page)}: {name(target)} has no heading #{anchor}"


@pytest.mark.parametrize("page", [page for page in READABLE if runnable(page)], ids=name)
def test_examples_run(page: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-W", "error", "-c", runnable(page)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name(page)}:\n{done.stderr}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in asked} - {"bitvelocity"}
    told = (DOCS / "dependencies.md").read_text(encoding="utf-8")
    assert not (untold := {dependency for dependency in names if dependency not in told}), untold


@pytest.mark.skipif(importlib.util.find_spec("bitvelocity.cli") is None, reason="there is no command line yet")
def test_pages_made_from_the_code_are_what_the_code_says() -> None:
    program = [sys.executable, str(DOCS / "render.py"), "--check"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
