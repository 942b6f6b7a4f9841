"""The pages of docs/reference that are made from the code: commands, settings, errors.

`./dev.py docs` writes them, `./dev.py docs --check` fails when one is not what the code says.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import click

from bitvelocity import errors, settings
from bitvelocity.streams import Abilities, abilities_of
from bitvelocity.streams.engines import DECLARED

REFERENCE = Path(__file__).parent / "reference"
MADE = "<!-- Made from the code by ./dev.py docs: change it there. -->"
WIDTH = 100


def commands_page() -> str:
    """Every command with its `--help`."""
    from bitvelocity.cli.app import cli

    top = click.Context(
        cli, info_name="bitvelocity", terminal_width=WIDTH, max_content_width=WIDTH, **cli.context_settings
    )
    blocks = [MADE, "# Commands", "`bv` is the same command as `bitvelocity`.", fenced(cli.get_help(top))]
    for name, command, context in commands(cli, top):
        blocks += [f"## {name}", fenced(command.get_help(context))]
    blocks += ["Exit codes: 0 done, 1 failed (the error says what is safe and what to do), 2 used wrongly, 130 stopped."]
    return page(blocks)


def commands(group: click.Group, parent: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """All commands below a group, each with the words that call it."""
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=parent)
        yield context.command_path, command, context
        if isinstance(command, click.Group):
            yield from commands(command, context)


def settings_page() -> str:
    """Every section of bitvelocity.toml, with defaults."""
    blocks = [MADE, "# Settings", inspect.getdoc(settings) or ""]
    for name, kind in get_type_hints(settings.Settings).items():
        blocks += section(f"[{name}]", kind)
    blocks += section("[[routes]]", settings.RouteSettings)
    blocks += section("[[consumers]]", settings.ConsumerSettings)
    return page(blocks)


def section(name: str, kind: Any) -> list[str]:
    """A section, and those within it."""
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return []
    inner = [block for part, of in get_type_hints(kind).items() for block in section(f"{name[:-1]}.{part}]", of)]
    return [f"## {name}", inspect.cleandoc(own_doc(kind)), settings_table(kind), *inner]


def settings_table(kind: Any) -> str:
    hints = get_type_hints(kind)
    shared = [base for base in kind.__bases__ if base is not object]
    notes = {name: note for declared in (*shared, kind) for name, note in attribute_docs(declared).items()}
    rows = [
        f"| `{item.name}` | {word(hints[item.name])} | {default(item)} | {notes.get(item.name, '')} |"
        for item in sorted(fields(kind), key=lambda item: item.name not in kind.__annotations__)  # what it shares comes last
        if not is_dataclass(hints[item.name])
    ]
    return "\n".join(["| setting | type | default | |", "|---|---|---|---|", *rows])


def word(hint: Any) -> str:
    return {None: getattr(hint, "__name__", ""), tuple: "list"}.get(get_origin(hint), "table")


def default(item: Field[Any]) -> str:
    if item.default_factory is not MISSING:
        return f"`{json.dumps(item.default_factory())}`"
    return "(required)" if item.default is MISSING else f"`{json.dumps(item.default)}`"


def own_doc(kind: type) -> str:
    """A class's docstring, unless dataclass made it up from the signature."""
    text = kind.__doc__ or ""
    return "" if text.startswith(f"{kind.__name__}(") else text


def attribute_docs(kind: type) -> dict[str, str]:
    """The string below each attribute: Python forgets it, the source does not."""
    (declared,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(declared, ast.ClassDef)
    notes = {}
    for field, note in zip(declared.body, declared.body[1:], strict=False):
        match field, note:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                notes[name] = " ".join(text.split())
    return notes


def errors_page() -> str:
    """Every error a user can meet, in the order of its family."""
    retries = {"itself": "the program, by itself", "person": "you, after the remedy", "never": "nobody"}
    rows = ["| error | says | who tries again |", "|---|---|---|"]
    for kind in families(errors.BitVelocityError):
        depth = len([base for base in kind.__mro__ if issubclass(base, errors.BitVelocityError)]) - 1
        rows.append(f"| {'└ ' * depth}`{kind.__name__}` | {inspect.getdoc(kind)} | {retries[kind.retry]} |")
    fields_of_error = (
        "Each says what happened, to which entity and position, what is safe, and what to do. With `--json` the same "
        "comes as one document with the keys `error`, `what`, `entity`, `position`, `safe`, `remedy`, `retry`."
    )
    return page([MADE, "# Errors", fields_of_error, "\n".join(rows)])


def families(kind: type[errors.BitVelocityError]) -> Iterator[type[errors.BitVelocityError]]:
    yield kind
    for child in kind.__subclasses__():
        assert child.__module__ == errors.__name__, f"{child} belongs in errors.py"
        yield from families(child)


def transports_page() -> str:
    """What each transport declares, from its own `Abilities`."""
    declared = {name: abilities_of(name) for name in DECLARED}
    rows = [f"| | {' | '.join(declared)} |", "|---|" + "---|" * len(declared)]
    for item in fields(Abilities):
        cells = [shown(getattr(abilities, item.name)) for abilities in declared.values()]
        rows.append(f"| `{item.name}` | {' | '.join(cells)} |")
    about = (
        "Every transport is asked the same by one suite (`tests/conformance/test_bus*.py`); what it does not declare here is "
        "refused when it is asked for. [Streams](../explanation/streams.md) explains the words."
    )
    notes = inspect.cleandoc(own_doc(Abilities)).partition("\n\n")[2]
    return page([MADE, "# Transports", about, "\n".join(rows), notes])


def shown(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def page(blocks: list[str]) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


PAGES = {"cli.md": commands_page, "settings.md": settings_page, "errors.md": errors_page, "transports.md": transports_page}


def main(words: list[str]) -> int:
    stale = 0
    for name, render in PAGES.items():
        file, new = REFERENCE / name, render()
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        if words == ["--check"]:
            stale += old != new
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), name, "the code"))
        else:
            file.write_text(new, encoding="utf-8")
    if stale:
        print("\nRemedy: run ./dev.py docs, and read what it wrote.")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
