"""`bitvelocity schema`: the schema registry."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ...errors import SettingsError
from ...flow import (
    Wished,
    carried,
    check_entities,
    open_registry,
    reasons_against,
    register_entities,
    serve_registry,
)
from ...settings import load_settings
from ..output import json_option, print_json, project_option, say

if TYPE_CHECKING:
    from ...settings import Settings
    from ...streams.registry import Caller

FORMATS = ("debezium", "debezium-unwrapped", "bitvelocity")
TYPES = {".avsc": "AVRO", ".json": "JSON", ".proto": "PROTOBUF"}

registry_option = click.option("--registry", "url", default="", metavar="URL", help="Another registry than the project's.")


def schema_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a schema in a file needs beside its text; and, without a file, which records of the entities are meant."""
    for option in (
        click.option("--topic-prefix", "prefix", default=None, help="Of the entities' topics. These three: else as bitvelocity.toml says."),
        click.option("--notation", "way", type=click.Choice(["avro", "json", "protobuf"]), default=None,
                     help="How records of the entities are written."),
        click.option("--format", "form", type=click.Choice(FORMATS), default=None, help="What records of the entities say."),
        click.option("--reference", "references", multiple=True, metavar="NAME=SUBJECT:VERSION", help="A schema that it uses."),
        click.option("--type", "kind", type=click.Choice(list(TYPES.values()), case_sensitive=False), default=None,
                     help="Else by the file's name: .avsc, .json, .proto."),
        click.option("--subject", "-s", default="", help="Of the schema in the file, such as orders-value."),
        click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False)),
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
    from ...streams.registry import every_version

    with _registry(folder, url) as registry:
        held = every_version(registry, deleted=deleted)
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
def register(file: Path | None, subject: str, kind: str | None, references: tuple[str, ...], **words: Any) -> None:
    """Register the schema in FILE, or without one those of all entities; the same schema again gives the same version."""
    if file is None:
        _register_entities(words)
        return
    body = _body(file, kind, references, subject)
    with _registry(words["folder"], words["url"]) as registry:
        done = registry.ask("POST", f"subjects/{quote(subject, safe='')}/versions?normalize=true", body)
        found = registry.ask("POST", f"subjects/{quote(subject, safe='')}?normalize=true", body)
    if words["as_json"]:
        print_json({"subject": subject, "id": done["id"], "version": found["version"], "guid": found.get("guid")})
    else:
        say(f"{subject}: version {found['version']}, id {done['id']}")


def _register_entities(words: dict[str, Any]) -> None:
    settings = load_settings(words["folder"])
    with open_registry(settings, words["url"]) as registry:
        done = register_entities(settings, registry, _wished(settings, words))
    if words["as_json"]:
        print_json({"schemas": [{"subject": subject, "id": int(number)} for subject, number in done]})
        return
    for subject, number in done:
        say(f"{subject}: id {number}")


@command.command()
@schema_options
@registry_option
@project_option
@json_option
def check(file: Path | None, subject: str, kind: str | None, references: tuple[str, ...], **words: Any) -> int:
    """Whether the schema in FILE could be registered; without one, whether the entities as they are declared now fit
    everything: the topics' schemas, the tables of the lake, the models, the declared consumers. All reasons at once, and
    exit code 1, if not.
    """
    if file is None:
        return _check_entities(words)
    with _registry(words["folder"], words["url"]) as registry:
        reasons = reasons_against(registry, subject, _body(file, kind, references, subject), normalize=True)
    if words["as_json"]:
        print_json({"subject": subject, "compatible": not reasons, "reasons": reasons})
    elif not reasons:
        say(f"{subject}: compatible")
    else:
        say(f"{subject}: not compatible", fg="red")
        for one in reasons:
            say(f"  version {one['version']}  {one['kind']} at {one['path']}: {one['what']}")
    return 1 if reasons else 0


def _check_entities(words: dict[str, Any]) -> int:
    settings = load_settings(words["folder"])
    with open_registry(settings, words["url"]) as registry:
        reasons = check_entities(settings, registry, _wished(settings, words))
    if words["as_json"]:
        print_json({"compatible": not reasons, "reasons": [asdict(one) for one in reasons]})
        return 1 if reasons else 0
    for one in reasons:
        say(f"{one.where} {one.at}: {one.what}", fg="red")
    if not reasons:
        say("The entities fit their topics, tables, models and consumers.")
    return 1 if reasons else 0


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
        document = export_registry(registry)
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error.strerror}.", remedy="Name another file.") from error
    say(f"Exported {len(document['schemas'])} versions to {output}.")


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


def _wished(settings: Settings, words: dict[str, Any]) -> Wished | None:
    """Other records than the project's, if any of the three words was said; what was not said is as on the project's bus."""
    form, way, prefix = (words[name] for name in ("form", "way", "prefix"))
    if not (form or way or prefix):
        return None
    options = replace(carried(settings.streams), topic_prefix=prefix or settings.streams.prefix)
    return Wished(form or "debezium", way or settings.streams.wire, options)


@contextmanager
def _registry(folder: Path, url: str) -> Iterator[Caller]:
    """With an address no project is needed."""
    with open_registry(None if url else load_settings(folder), url) as registry:
        yield registry


def _body(file: Path, kind: str | None, references: tuple[str, ...], subject: str) -> dict[str, Any]:
    if not subject:
        raise click.UsageError("The schema in a file needs its subject: -s orders-value.")
    chosen = (kind or TYPES.get(file.suffix, "AVRO")).upper()
    return {"schema": file.read_text(encoding="utf-8"), "schemaType": chosen, "references": list(map(_reference, references))}


def _reference(text: str) -> dict[str, Any]:
    name, _, rest = text.rpartition("=")
    subject, _, version = rest.rpartition(":")
    if not (name and subject and version.isdecimal()):
        raise click.UsageError(f"--reference takes NAME=SUBJECT:VERSION, and got {text!r}.")
    return {"name": name, "subject": subject, "version": int(version)}


def _laid_out(text: str) -> list[str]:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False).splitlines()
    except ValueError:
        return text.splitlines()
