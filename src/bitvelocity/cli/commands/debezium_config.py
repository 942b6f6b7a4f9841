"""`bitvelocity debezium-config`: a configuration for the real Debezium."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from ...errors import SettingsError
from ...flow import DebeziumWish, debezium_config, open_project
from ..output import json_option, print_json, project_option, say


@click.command(short_help="A configuration for the real Debezium.")
@click.option("--form", type=click.Choice(["server", "connect", "strimzi"]), default="server", show_default=True)
@click.option("--topic-prefix", default="", help="How every topic begins (default: the project's name).")
@click.option("--unwrap", is_flag=True, help="Flat rows instead of envelopes (ExtractNewRecordState).")
@click.option("--password-from", metavar="REFERENCE", default="env:DEBEZIUM_PASSWORD", show_default=True,
              help="env:NAME, file:PATH:KEY or secrets:NAMESPACE/NAME:KEY.")  # fmt: skip
@click.option("--set", "more", metavar="NAME=VALUE", multiple=True, help="An option of the connector that wins over ours.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@project_option
@json_option
def command(form: Literal["server", "connect", "strimzi"], **words: Any) -> None:
    """Print a configuration with which Debezium captures the project's tables: nothing is contacted or changed.

    server: application.properties of Debezium Server. connect: the JSON that one POSTs to Kafka Connect. strimzi: a
    KafkaConnector resource. The password is named by reference only. See docs/how-to/run-debezium-instead.md.
    """
    wish = DebeziumWish(
        form=form,
        topic_prefix=words["topic_prefix"],
        unwrap=words["unwrap"],
        password_from=words["password_from"],
        more=dict(map(_pair, words["more"])),
    )
    text = debezium_config(open_project(words["folder"]), wish)
    if words["output"]:
        _write(words["output"], text)
    if words["as_json"]:
        print_json({"form": form, "file": words["output"], "text": text})
    elif words["output"]:
        say(f"Wrote {words['output']}.")
    else:
        click.echo(text, nl=False)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"--set takes NAME=VALUE, and got {name!r}.")
    return name, value


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be written: {error.strerror}.", remedy="Name a file in a folder that you may write to."
        ) from error
