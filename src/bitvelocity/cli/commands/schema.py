"""`bitvelocity schema`: the schema registry."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ...errors import SettingsError
from ...flow import open_registry, serve_registry
from ...settings import load_settings
from ..output import json_option, print_json, project_option, say

if TYPE_CHECKING:
    from ...streams.registry import Caller

TYPES = {".avsc": "AVRO", ".json": "JSON", ".proto": "PROTOBUF"}

registry_option = click.option("--registry", "url", default="", metavar="URL", help="Another registry than the project's.")


def schema_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a schema in a file needs beside its text."""
    for option in (
        click.option("--reference", "references", multiple=True, metavar="NAME=SUBJECT:VERSION", help="A schema that it uses."),
        click.option("--type", "kind", type=click.Choice(list(TYPES.values()), case_sensitive=False), default=None,
                     help="Else by the file's name: .avsc, .json, .proto."),
        click.option("--subject", "-s", required=True, help="Such as orders-value."),
        click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False)),
    ):  # fmt: skip
        function = option(function)
    return function


@click.group(name="schema", short_help="The schema registry.")
def command() -> None:
    """The schema registry: Confluent's API, in a file of the project or in PostgreSQL. See docs/how-to/schema-registry.md.

    All but serve ask the project's own registry, which need not be running, or the one that --registry or
    bitvelocity.toml names. Each of these takes --json.
    """


@command.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond this machine only with a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="Else that of bitvelocity.toml, 8081; 0 takes a free one.")
@click.option("--read-only", is_flag=True, help="Refuse every write.")
@project_option
@json_option
def serve(host: str, port: int | None, read_only: bool, folder: Path, as_json: bool) -> None:
    """Serve the registry until it is stopped. Tokens: BITVELOCITY_REGISTRY_TOKEN, BITVELOCITY_REGISTRY_READ_TOKEN."""

    def ready(url: str) -> None:
        print_json({"url": url}) if as_json else say(f"The schema registry listens at {url}")
        sys.stdout.flush()

    serve_registry(load_settings(folder), ready, host=host, port=port, read_only=read_only)


@command.command(name="list")
@click.option("--deleted", is_flag=True, help="Those that were soft-deleted too.")
@registry_option
@project_option
@json_option
def list_schemas(deleted: bool, url: str, folder: Path, as_json: bool) -> None:
    """Every version of every subject: its number, id and type."""
    with _registry(folder, url) as registry:
        held = registry.ask("GET", "schemas?deleted=true" if deleted else "schemas")
    if as_json:
        print_json({"schemas": held})
        return
    for one in sorted(held, key=lambda one: (one["subject"], one["version"])):
        gone = "  deleted" if one.get("deleted") else ""
        say(f"{one['subject']}  version {one['version']}  id {one['id']}  {one.get('schemaType', 'AVRO')}{gone}")
    if not held:
        say("No schema is registered.", dim=True)


@command.command()
@schema_options
@registry_option
@project_option
@json_option
def register(file: Path, subject: str, kind: str | None, references: tuple[str, ...], **words: Any) -> None:
    """Register the schema in a file; the same schema again gives the same version."""
    body = _body(file, kind, references)
    with _registry(words["folder"], words["url"]) as registry:
        done = registry.ask("POST", f"subjects/{quote(subject, safe='')}/versions?normalize=true", body)
        found = registry.ask("POST", f"subjects/{quote(subject, safe='')}?normalize=true", body)
    if words["as_json"]:
        print_json({"subject": subject, "id": done["id"], "version": found["version"], "guid": found.get("guid")})
    else:
        say(f"{subject}: version {found['version']}, id {done['id']}")


@command.command()
@schema_options
@registry_option
@project_option
@json_option
def check(file: Path, subject: str, kind: str | None, references: tuple[str, ...], **words: Any) -> int:
    """Whether the schema in a file could be registered: all reasons at once, and exit code 1, if not."""
    path = f"compatibility/subjects/{quote(subject, safe='')}/versions?verbose=true&normalize=true"
    with _registry(words["folder"], words["url"]) as registry:
        answer = registry.ask("POST", path, _body(file, kind, references))
    reasons = _reasons(answer.get("messages", []))
    if words["as_json"]:
        print_json({"subject": subject, "compatible": answer["is_compatible"], "reasons": reasons})
    elif answer["is_compatible"]:
        say(f"{subject}: compatible")
    else:
        say(f"{subject}: not compatible", fg="red")
        for one in reasons:
            say(f"  version {one['version']}  {one['kind']} at {one['path']}: {one['what']}")
    return 0 if answer["is_compatible"] else 1


@command.command()
@click.argument("subject")
@click.option("--from", "old", default="1", show_default=True, help="A version, or latest.")
@click.option("--to", "new", default="latest", show_default=True, help="A version, or latest.")
@registry_option
@project_option
@json_option
def diff(subject: str, old: str, new: str, url: str, folder: Path, as_json: bool) -> None:
    """The difference of two versions of a subject, line by line."""
    with _registry(folder, url) as registry:
        path = f"subjects/{quote(subject, safe='')}/versions"
        before, after = (_laid_out(registry.ask("GET", f"{path}/{one}")["schema"]) for one in (old, new))
    lines = list(difflib.unified_diff(before, after, f"version {old}", f"version {new}", lineterm=""))
    if as_json:
        print_json({"subject": subject, "from": old, "to": new, "diff": lines})
        return
    for line in lines:
        say(line, fg={"+": "green", "-": "red"}.get(line[:1]))
    if not lines:
        say("They are the same.", dim=True)


@command.command(name="export")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file; else standard output.")
@registry_option
@project_option
def export_all(output: Path | None, url: str, folder: Path) -> None:
    """Everything that the registry keeps, as one JSON document: ids, versions, deletions, levels, modes."""
    from ...streams.registry import export_registry

    with _registry(folder, url) as registry:
        text = json.dumps(export_registry(registry), indent=1, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error.strerror}.", remedy="Name another file.") from error


@command.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@registry_option
@project_option
@json_option
def import_all(file: Path, url: str, folder: Path, as_json: bool) -> None:
    """Write an exported document into a registry, ids and versions as they were; importing it again changes nothing."""
    from ...streams.registry import import_registry

    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{file} is no JSON: {error}.", remedy="Make one: bitvelocity schema export -o file") from error
    with _registry(folder, url) as registry:
        count = import_registry(registry, document)
    print_json({"versions": count}) if as_json else say(f"Imported {count} versions.")


@contextmanager
def _registry(folder: Path, url: str) -> Iterator[Caller]:
    """With an address no project is needed."""
    with open_registry(None if url else load_settings(folder), url) as registry:
        yield registry


def _body(file: Path, kind: str | None, references: tuple[str, ...]) -> dict[str, Any]:
    chosen = (kind or TYPES.get(file.suffix, "AVRO")).upper()
    return {"schema": file.read_text(encoding="utf-8"), "schemaType": chosen, "references": list(map(_reference, references))}


def _reference(text: str) -> dict[str, Any]:
    name, _, rest = text.rpartition("=")
    subject, _, version = rest.rpartition(":")
    if not (name and subject and version.isdecimal()):
        raise click.UsageError(f"--reference takes NAME=SUBJECT:VERSION, and got {text!r}.")
    return {"name": name, "subject": subject, "version": int(version)}


def _reasons(messages: list[str]) -> list[dict[str, Any]]:
    """Reasons with the version that they are about, which the messages tell after them; other registries' texts as they are."""
    found: list[dict[str, Any]] = []
    for message in messages:
        try:
            told = json.loads(message)
        except ValueError:
            told = {"errorType": "INCOMPATIBLE", "description": message}
        if "errorType" in told:
            path = told.get("additionalInfo", "/")
            found.append({"version": None, "kind": told["errorType"], "path": path, "what": told.get("description", "")})
        elif "oldSchemaVersion" in told:
            for one in found:
                one["version"] = one["version"] or told["oldSchemaVersion"]
    return found


def _laid_out(text: str) -> list[str]:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False).splitlines()
    except ValueError:
        return text.splitlines()
