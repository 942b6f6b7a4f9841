"""`bitvelocity changes`: what commits, as records in Debezium's format or ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ...flow import Telling, change_records, open_project, source_database
from ..output import project_option

if TYPE_CHECKING:
    import pyarrow as pa

    from ...changes.formats import Format

_FORMATS = ("debezium", "debezium-unwrapped", "bitvelocity")


@click.command(short_help="Print changes as records: Debezium's format, unwrapped, or our own.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="debezium", show_default=True)
@click.option("--entity", "entities", multiple=True, help="Only this entity; may be given more than once.")
@click.option("--from", "start", type=click.Choice(["snapshot", "now"]), default="snapshot", show_default=True,
              help="Begin with the tables as they stand, or with what commits from now on (implies --follow).")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Go on with what commits, until Ctrl-C.")
@click.option("--schemas", is_flag=True, help="Each key and value with its schema.")
@click.option("--option", "-o", "given", multiple=True, metavar="NAME=VALUE",
              help="An option by Debezium's name: decimal.handling.mode=string. May be given more than once.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="End after so many records.")
@project_option
@click.option("--json", is_flag=True, expose_value=False, help="Errors as JSON too; records are JSON lines in any case.")
def command(
    form: str,
    entities: tuple[str, ...],
    start: str,
    follow: bool,
    schemas: bool,
    given: tuple[str, ...],
    limit: int | None,
    folder: Path,
) -> None:
    """Print what commits in the source as JSON lines: topic, key, value, headers, position.

    Reads through a replication slot of its own, which is gone afterwards; `up` is not disturbed. Without --follow it ends
    with what was committed when it began.
    """
    wish = Telling(
        form=cast("Format", form),
        entities=entities,
        options={**_pairs(given), **({"schemas.enable": "true"} if schemas else {})},
        from_now=start == "now",
        follow=follow or start == "now",
    )
    project = open_project(folder)
    with source_database(project) as database:
        records = change_records(project, database, wish)
        try:
            for line in _lines(records, limit):
                click.echo(line)
        finally:
            records.close()


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--option {text}: write NAME=VALUE.")
        pairs[name.strip()] = value
    return pairs


def _lines(tables: Iterator[pa.Table], limit: int | None) -> Iterator[str]:
    count = 0
    for table in tables:
        for row in table.to_pylist():
            yield _line(row)
            count += 1
            if count == limit:
                return


def _line(row: dict[str, object]) -> str:
    """Key and value stand in it as they are, byte for byte."""
    key, value = (cast("bytes", row[side]).decode() if row[side] is not None else "null" for side in ("key", "value"))
    headers = {name: json.loads(said) for name, said in cast("list[tuple[str, bytes]]", row["headers"] or [])}
    lsn = cast("int", row["lsn"])
    position = f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}:{row['ordinal']}"
    tail = f'"headers":{json.dumps(headers, ensure_ascii=False)},"position":"{position}"'
    return f'{{"topic":{json.dumps(row["topic"])},"key":{key},"value":{value},{tail}}}'
