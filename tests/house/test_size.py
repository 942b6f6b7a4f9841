"""The size check: what is too big to be read in one go is a failure with a remedy.

Alone: `python tests/house/test_size.py [folder or file ...]`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSE = ("src", "tests", "bench", "docs", "dev.py")

BODY, FILE, POSITIONAL, PARAMETERS, METHODS, STEPS = 40, 500, 4, 8, 12, 1

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Excess:
    """Something too big, where it stands, and what to do about it."""

    path: str
    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what} {self.remedy}"


@dataclass(frozen=True)
class Source:
    """One file, read. `parents` is the house's own inheritance: class -> its bases, by their last names."""

    path: str
    lines: int
    nodes: tuple[ast.AST, ...]
    parents: dict[str, list[str]]


def long_file(source: Source) -> Iterator[Excess]:
    """A file tells one story."""
    if source.lines > FILE:
        what = f"{source.lines} lines (at most {FILE})."
        yield Excess(source.path, 1, what, "It does two things: give each a file with its name.")


def long_bodies(source: Source) -> Iterator[Excess]:
    """A function is read in one go. Its docstring does not count."""
    for node in source.nodes:
        if isinstance(node, Function) and (lines := body_lines(node)) > BODY:
            yield Excess(
                source.path,
                node.lineno,
                f"the body of {node.name} has {lines} lines (at most {BODY}).",
                "Name its steps, and make each a function.",
            )


def many_parameters(source: Source) -> Iterator[Excess]:
    """Four by position, the rest by name. Tests are exempt: their parameters are fixtures."""
    if source.path.startswith("tests/"):
        return
    for node in source.nodes:
        if not isinstance(node, Function):
            continue
        positional, named = parameters(node)
        if positional > POSITIONAL and not is_click_command(node):
            yield Excess(
                source.path,
                node.lineno,
                f"{node.name} takes {positional} parameters by position (at most {POSITIONAL}).",
                "Put a * before those that a caller should name.",
            )
        if positional + named > PARAMETERS:
            yield Excess(
                source.path,
                node.lineno,
                f"{node.name} takes {positional + named} parameters (at most {PARAMETERS}).",
                "Those that travel together are a dataclass.",
            )


def many_methods(source: Source) -> Iterator[Excess]:
    """A class has one lifetime and few verbs. Properties are facts, and do not count."""
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and (verbs := public_methods(node)) > METHODS:
            yield Excess(
                source.path,
                node.lineno,
                f"{node.name} has {verbs} public methods (at most {METHODS}).",
                "Work that needs no lifetime is functions; the rest are two classes.",
            )


def deep_inheritance(source: Source) -> Iterator[Excess]:
    """A class of ours inherits from a class of ours once. Protocols and the tree of errors stand apart."""
    for node in source.nodes:
        if not isinstance(node, ast.ClassDef) or node.name.endswith("Error"):
            continue
        if (steps := own_steps(node.name, source.parents)) > STEPS:
            yield Excess(
                source.path,
                node.lineno,
                f"{node.name} inherits over {steps} steps of our own classes (at most {STEPS}).",
                "Hold the other object, or pass a function.",
            )


Rule = Callable[[Source], Iterator[Excess]]

RULES: tuple[Rule, ...] = (
    long_file,
    long_bodies,
    many_parameters,
    many_methods,
    deep_inheritance,
)


def body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: Function) -> tuple[int, int]:
    """How many are given by position, and how many only by name; `self` and `cls` are nobody's."""
    given = [*function.args.posonlyargs, *function.args.args]
    if given and given[0].arg in ("self", "cls"):
        given = given[1:]
    return len(given), len(function.args.kwonlyargs)


def public_methods(node: ast.ClassDef) -> int:
    return sum(
        isinstance(item, Function) and not item.name.startswith("_") and not is_property(item) for item in node.body
    )


def is_property(function: Function) -> bool:
    names = {last_name(decorator) for decorator in function.decorator_list}
    return bool(names & {"property", "cached_property", "setter", "overload"})


def is_click_command(function: Function) -> bool:
    """click calls it, and by name."""
    return any(last_name(decorator) == "command" for decorator in function.decorator_list)


def last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return last_name(value)
        case ast.Call(func=called):
            return last_name(called)
        case _:
            return ""


def own_steps(name: str, parents: dict[str, list[str]], seen: frozenset[str] = frozenset()) -> int:
    """Steps from a class up to the furthest own ancestor; a Protocol is no step."""
    if name in seen:
        return 0
    own = [parent for parent in parents.get(name, []) if parent in parents and "Protocol" not in parents[parent]]
    return max((1 + own_steps(parent, parents, seen | {name}) for parent in own), default=0)


def sources(places: list[Path]) -> list[Source]:
    """Every Python file below the places, read once."""
    files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    nodes = {file: tuple(ast.walk(ast.parse(text))) for file, text in texts.items()}
    classes = (node for file in files for node in nodes[file] if isinstance(node, ast.ClassDef))
    parents = {node.name: [last_name(base) for base in node.bases] for node in classes}
    return [Source(relative(file), texts[file].count("\n"), nodes[file], parents) for file in files]


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)


def excesses(places: list[Path]) -> list[Excess]:
    return [excess for source in sources(places) for rule in RULES for excess in rule(source)]


def house() -> list[Path]:
    return [ROOT / name for name in HOUSE if (ROOT / name).exists()]


def test_everything_can_be_read_in_one_go() -> None:
    assert not (found := excesses(house())), "\n" + "\n".join(map(str, found))


OVERSIZED: dict[Rule, str] = {
    long_file: "x = 1\n" * (FILE + 1),
    long_bodies: "def f():\n" + "    x = 1\n" * (BODY + 1),
    many_parameters: "def f(a, b, c, d, e): ...",
    many_methods: "class C:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(METHODS + 1)),
    deep_inheritance: "class A: ...\nclass B(A): ...\nclass C(B): ...",
}
FITTING: dict[Rule, str] = {
    long_file: "x = 1\n" * FILE,
    long_bodies: 'def f():\n    """Long\n' + "\n" * 50 + '    told."""\n' + "    x = 1\n" * BODY,
    many_parameters: "class C:\n    def f(self, a, b, c, d, *, e, f, g, h): ...",
    many_methods: "class C:\n" + "".join(f"    @property\n    def m{n}(self): ...\n" for n in range(METHODS + 1)),
    deep_inheritance: "class P(Protocol): ...\nclass Q(P, Protocol): ...\nclass A(Q): ...\nclass B(A): ...",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_finds_what_it_is_for(rule: Rule, tmp_path: Path) -> None:
    (bad := tmp_path / "bad.py").write_text(OVERSIZED[rule])
    (good := tmp_path / "good.py").write_text(FITTING[rule])
    assert len(excesses([bad])) == 1
    assert not excesses([good])


if __name__ == "__main__":
    found = excesses([Path(word).resolve() for word in sys.argv[1:]] or house())
    print("\n".join(map(str, found)) or f"Sizes: nothing in {', '.join(HOUSE)} is too big.")
    sys.exit(bool(found))
