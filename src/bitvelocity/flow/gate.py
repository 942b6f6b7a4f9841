"""One gate for changed entities: registered schemas, tables of the lake, models, consumers; all reasons at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..changes.formats.declared import declared_schemas
from ..changes.formats.notation import SchemaUse, unregistered
from ..contracts import EntitySpec, load_specs
from ..errors import ModelError
from ..lakehouse import as_stored, in_stored_order, outdated
from ..lakehouse.gold import bind_models, read_model
from ..lakehouse.gold.silver import silver_schemas
from ..settings import Settings
from ..streams.registry import Caller
from ..streams.wire import Registrar, notation, subject_of
from .consumers import broken_consumers
from .schemas import reasons_against
from .wires import Wished, wished_records


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that stands against an entity as it is declared now. `at` is a subject, a table, a model or a consumer."""

    where: Literal["topic", "table", "model", "consumer"]
    at: str
    what: str


def check_entities(settings: Settings, caller: Caller, wished: Wished | None = None) -> list[Reason]:
    """All that would break: nothing is written anywhere. `wished`: of other records than those that the project writes."""
    specs = load_specs(settings.entities_file)
    broken = [Reason("consumer", name, what) for name, what in broken_consumers(settings, specs)]
    return [*_topics(settings, specs, caller, wished), *_tables(settings, specs), *_models(settings, specs), *broken]


def register_entities(settings: Settings, caller: Caller, wished: Wished | None = None) -> list[tuple[str, str]]:
    """Register the schemas of all entities: subjects and ids. One that is there already keeps its id."""
    specs = load_specs(settings.entities_file)
    done = {}
    for one, use in _uses(settings, specs, wished):
        registered = Registrar(caller, naming=one.naming, register=True).register(use)
        done[subject_of(use, one.naming)] = str(int.from_bytes(registered.frame[1:5], "big"))
    return list(done.items())


def _uses(settings: Settings, specs: Sequence[EntitySpec], wished: Wished | None) -> Iterator[tuple[Wished, SchemaUse]]:
    """The schemas as the encoders of these records make them: columns in the order that the table has them in."""
    ordered = in_stored_order(settings.lake_folder, specs)
    for one in (wished,) if wished else wished_records(settings, specs):
        chosen = [spec for spec in ordered if one.tables is None or spec.qualified in one.tables]
        made = notation(one.way, unregistered)
        assert made is not None
        for _, use in declared_schemas(chosen, one.form, one.way, made.settle(one.options)):
            yield one, use


def _topics(settings: Settings, specs: Sequence[EntitySpec], caller: Caller, wished: Wished | None) -> Iterator[Reason]:
    for one, use in _uses(settings, specs, wished):
        subject, text = subject_of(use, one.naming), Registrar(caller, naming=one.naming).text(use)
        for found in reasons_against(caller, subject, {"schema": text, "schemaType": use.kind}):
            yield Reason("topic", subject, f"version {found['version']}, {found['kind']} at {found['path']}: {found['what']}")


def _tables(settings: Settings, specs: Sequence[EntitySpec]) -> Iterator[Reason]:
    """What silver has stored and cannot follow; `rebuild` would make it anew."""
    for one in outdated(settings.lake_folder, specs):
        yield from (Reason("table", f"silver.{one.entity}", reason) for reason in one.reasons)


def _models(settings: Settings, specs: Sequence[EntitySpec]) -> Iterator[Reason]:
    """Each model that reads what is no longer there, or as another type."""
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


__all__ = ["Reason", "check_entities", "register_entities"]
