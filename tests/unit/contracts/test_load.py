"""A user's file becomes specs, or an error with its file and line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bitvelocity.contracts import load_specs
from bitvelocity.errors import DeclarationError

HEAD = "from typing import Annotated\nfrom bitvelocity.contracts import *\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(text: str, name: str = "entities.py") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def test_in_an_order_that_can_be_made(write: Write) -> None:
    path = write(
        HEAD
        + "class Line(Entity):\n    n: Annotated[int, Key(), Ref('head.n')]\n"
        + "class Head(Entity):\n    n: Annotated[int, Key()]\n"
        + "class Other(Entity):\n    n: Annotated[int, Key()]\n"
    )
    assert [spec.name for spec in load_specs(path)] == ["head", "line", "other"]
    assert load_specs(str(path)) == load_specs(path)


def test_names_of_the_module_are_found_in_late_annotations(write: Write) -> None:
    path = write(
        "from __future__ import annotations\n" + HEAD + "class A(Entity):\n    n: Annotated[Number, Key()]\n    date: date | None = None\n"
        "    other: list[date]\nNumber = int\n"
    )
    with pytest.raises(DeclarationError, match="'Number', which the module does not define"):
        load_specs(path)
    path.write_text("from __future__ import annotations\nfrom datetime import date\nNumber = int\n" + path.read_text()[35:])
    (spec,) = load_specs(path)
    assert [str(column.type) for column in spec.columns[:3]] == ["int64", "date", "date[]"]


def test_files_beside_it_may_be_imported(write: Write) -> None:
    write("from decimal import Decimal\nfrom typing import Annotated\nfrom bitvelocity.contracts import Numeric\n"
          "Money = Annotated[Decimal, Numeric(12, 2)]\n", "our_money.py")  # fmt: skip
    path = write(HEAD + "from our_money import Money\nclass A(Entity):\n    n: Annotated[int, Key()]\n    m: Money\n")
    assert str(load_specs(path)[0].by_name["m"].type) == "decimal(12,2)"


def test_several_files_are_one_set(write: Write) -> None:
    line = write(HEAD + "class Line(Entity):\n    n: Annotated[int, Key(), Ref('head.n')]\n", "line.py")
    head = write(HEAD + "class Head(Entity):\n    n: Annotated[int, Key()]\n", "head.py")
    assert [spec.name for spec in load_specs(line, head)] == ["head", "line"]


def test_a_module_by_its_dotted_name(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(HEAD + "class Shop(Entity):\n    n: Annotated[int, Key()]\n", "dotted_shop_entities.py").parent
    monkeypatch.syspath_prepend(str(folder))
    assert [spec.name for spec in load_specs("dotted_shop_entities")] == ["shop"]


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("x = 1\nimport nowhere_to_be_found\n", "an import fails: No module named 'nowhere_to_be_found'", 2),
        ("x = 1\ny = (\n", "Python cannot read the file", 2),
        ("x = 1\n\ny = 1 / 0\n", "ZeroDivisionError", 3),
        (HEAD + "\nclass A(Entity):\n    n: Annotated[int, Key]\n", "A.n: Key stands without parentheses", 4),
        (HEAD + "\nclass A(Entity, tabel='a'):\n    n: Annotated[int, Key()]\n", "did you mean table=", 4),
    ],
)
def test_errors_have_file_and_line(write: Write, text: str, what: str, line: int) -> None:
    path = write(text)
    with pytest.raises(DeclarationError) as caught:
        load_specs(path)
    assert what in str(caught.value)
    assert caught.value.position == f"{path}:{line}"
    assert caught.value.remedy


def test_nothing_to_load(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="declares no entity"):
        load_specs(write("from bitvelocity.contracts import Entity\n"))
    with pytest.raises(DeclarationError, match="there is no file"):
        load_specs(tmp_path / "absent.py")
    with pytest.raises(DeclarationError, match="an import fails"):
        load_specs("no.such.module")
