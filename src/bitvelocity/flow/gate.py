"""One gate for changed entities: registered schemas, tables of the lake, models; all reasons at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from ..changes.formats import Options
from ..changes.formats.declared import declared_schemas
from ..contracts import EntitySpec, load_specs
from ..errors import ModelError
from ..lakehouse import as_stored, outdated
from ..lakehouse.gold import bind_models, read_model
from ..lakehouse.gold.silver import silver_schemas
from ..settings import Settings
from ..streams.registry import Caller
from ..streams.wire import Registrar, notation, subject_of
from .schemas import reasons_of


@dataclass(frozen=True, slots=True)
class Wished:
    """Which records are meant: those of a format and a way of writing, on topics with a prefix."""

    form: str = "debezium"
    way: str = "avro"
    prefix: str = "bv"

    def options(self) -> Options:
        """As a writer of these records has them."""
        given = Options(topic_prefix=self.prefix)
        made = notation(self.way)
        return given if made is None else made.settle(given)


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that stands against an entity as it is declared now. `at` is a subject, a table or a model."""

    where: Literal["topic", "table", "model"]
    at: str
    what: str


def check_entities(settings: Settings, caller: Caller, wished: Wished) -> list[Reason]:
    """All that would break: nothing is written anywhere."""
    specs = load_specs(settings.entities_file)
    return [*_topics(specs, caller, wished), *_tables(settings, specs), *_models(settings, specs)]


def register_entities(settings: Settings, caller: Caller, wished: Wished) -> list[tuple[str, str]]:
    """Register the schemas of all entities: subjects and ids. One that is there already keeps its id."""
    registrar = Registrar(caller, register=True)
    specs = load_specs(settings.entities_file)
    done = []
    for _, use in declared_schemas(specs, wished.form, wished.way, wished.options()):
        frame = registrar.register(use).frame
        done.append((subject_of(use, "topic"), str(int.from_bytes(frame[1:5], "big"))))
    return done


def _topics(specs: Sequence[EntitySpec], caller: Caller, wished: Wished) -> Iterator[Reason]:
    for _, use in declared_schemas(specs, wished.form, wished.way, wished.options()):
        subject = subject_of(use, "topic")
        path = f"compatibility/subjects/{quote(subject, safe='')}/versions?verbose=true"
        answer = caller.ask("POST", path, {"schema": use.text, "schemaType": use.kind})
        if not answer["is_compatible"]:
            found = reasons_of(answer.get("messages", []))
            yield from (Reason("topic", subject, f"version {one['version']}, {one['kind']} at {one['path']}: {one['what']}") for one in found)


def _tables(settings: Settings, specs: Sequence[EntitySpec]) -> Iterator[Reason]:
    """What silver has stored and cannot follow; `rebuild` would make it anew."""
    for one in outdated(settings.lake_folder, specs):
        yield from (Reason("table", f"silver.{one.entity}", reason) for reason in one.reasons)


def _models(settings: Settings, specs: Sequence[EntitySpec]) -> Iterator[Reason]:
    """The declared consumers: each model that reads what is no longer there, or as another type."""
    kept = as_stored(settings.lake_folder, specs)
    folder = settings.models_folder
    models = [read_model(path) for path in sorted(folder.glob("*.sql"))] if folder.is_dir() else []
    keyless = frozenset(spec.name for spec in kept if not spec.key)
    while models:
        try:
            bind_models(models, silver_schemas(kept), keyless)
        except ModelError as error:
            yield Reason("model", str(error.position or error.entity), error.what)
            rest = [model for model in models if model.table != error.entity]
            if len(rest) == len(models):
                return
            models = rest
        else:
            return


__all__ = ["Reason", "Wished", "check_entities", "register_entities"]
