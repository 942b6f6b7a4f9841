"""How a project's records are written, and who names their schemas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ..changes.formats import Options
from ..contracts import EntitySpec
from ..settings import Settings, StreamsSettings
from ..streams.registry import Caller
from ..streams.wire import Naming, Registrar
from .routes import routes_of


@dataclass(frozen=True, slots=True)
class Wished:
    """Records that name their schemas: what they say, how they are written, and of which tables; None: of all."""

    form: str = "debezium"
    way: str = "avro"
    options: Options = Options()  # noqa: RUF009 - it is frozen
    naming: Naming = "topic"
    tables: frozenset[str] | None = None


def registrar(settings: Settings, caller: Caller, naming: Naming = "topic") -> Registrar:
    """As the settings allow it: `[registry] register`."""
    return Registrar(caller, naming=naming, register=settings.registry.register, url=settings.registry.url)


def carried(streams: StreamsSettings) -> Options:
    """Of records that the lake is fed with over a bus: all that happened, and all that a batch is made of again."""
    return Options(
        topic_prefix=streams.prefix, skipped_operations=(), cloudevents=streams.cloudevents, keep_exact=True
    )


def wished_records(settings: Settings, specs: Sequence[EntitySpec]) -> tuple[Wished, ...]:
    """What the project writes: over the bus to the lake, and over each route. Where nothing names a schema, what a bus would."""
    streams = settings.streams
    found = [
        Wished(
            route.asked.format, route.asked.wire.removesuffix("-schema"), route.options,
            naming=cast("Naming", route.asked.subjects), tables=frozenset(spec.qualified for spec in route.specs),
        )
        for route in routes_of(settings, specs)
        if route.asked.wire != "json"
    ]  # fmt: skip
    over = streams.route == "bus" and streams.wire != "json"
    if over or not found:
        found.insert(0, Wished("debezium", streams.wire if over or streams.wire != "json" else "avro", carried(streams)))
    return tuple(found)


__all__ = ["Wished", "carried", "registrar", "wished_records"]
