"""How commands speak: plain lines anywhere, colour on a terminal, one JSON document with `--json`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click

from ..errors import BitVelocityError

F = TypeVar("F", bound=Callable[..., Any])

project_option = click.option(
    "--project",
    "-p",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder of the project (default: here or above).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def say(text: str = "", **style: Any) -> None:
    """A line for a person; styles vanish where the output is no terminal."""
    click.secho(text, **style)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    try:
        text = json.dumps(value, default=plain, ensure_ascii=False, allow_nan=False)
    except ValueError:  # numbers that JSON has no word for
        text = json.dumps(_said(value), default=plain, ensure_ascii=False)
    click.echo(text)


def _said(value: Any) -> Any:
    """The value with NaN and the infinities as text, spelled as PostgreSQL and JSON's readers know them."""
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {key: _said(part) for key, part in value.items()}
        case list() | tuple():
            return [_said(part) for part in value]
        case _:
            return value


def print_error(error: BitVelocityError, *, as_json: bool) -> None:
    """What happened, what is safe, what to do: on standard error, or as JSON on standard output."""
    if as_json:
        print_json(error.as_dict())
        return
    first, *rest = str(error).split("\n")
    click.secho(f"error: {first}", fg="red", err=True)
    for line in rest:
        click.echo(f"  {line}", err=True)


def plain(value: Any) -> Any:
    """A value as JSON can say it: money as text, time as ISO 8601, our own data as an object."""
    match value:
        case Decimal() | UUID() | Path():
            return str(value)
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _ if is_dataclass(value) and not isinstance(value, type):
            return asdict(value)
        case _:
            return str(value)


def is_terminal() -> bool:
    """Standard output is a person's screen."""
    return sys.stdout.isatty()
