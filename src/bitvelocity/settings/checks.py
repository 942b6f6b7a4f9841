"""Which values of a setting can work: what could only fail later and elsewhere is refused here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from .sections import CaptureSettings, ConsumerSettings, RouteSettings, Settings, StreamsSettings

SNAPSHOTS = ("initial", "never")
SOURCES = ("postgres", "debezium")
FEEDS = ("auto", "walsender", "copy")
TRANSPORTS = ("kafka", "nats", "rabbitmq")
"""Servers that have topics."""
BUSES = ("embedded", *TRANSPORTS, "rabbitmq-queues")
ROUTES, WIRES, DEAD_LETTERS = ("direct", "bus"), ("avro", "json", "protobuf"), ("stop", "table", "topic")
CONTRACTS = ("types", "rules")
PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")
ROUTE_FORMATS = ("debezium", "debezium-unwrapped", "bitvelocity")
ROUTE_WIRES = ("avro", "json", "json-schema", "protobuf")
ROUTE_NAME = re.compile(r"[a-z0-9_-]{1,63}")
CONSUMED = re.compile(r"\s*(?P<name>[^:]*[^:\s])\s*(?::\s*(?P<type>\S(?:.*?\S)?)??\s*(?P<needed>\bnot null)?\s*)?")
"""A column that a consumer reads: its name, perhaps the type as which it does, and whether NULL would break it."""
SLOT_NAME = re.compile(r"[a-z0-9_]{1,63}")

_Checks = dict[str, tuple[Any, Callable[[Any], object], str]]
"""By a setting's name: its value, whether it fits, and what to write instead."""

_PORT = "Give a port from 1 to 65535, or 0 for a free one."


def check_values(settings: Settings, file: Path) -> None:
    """Refuse the first value that could never work, by its name and with what to write instead."""
    checks = {
        **_of_places(settings),
        **_of_capture(settings.capture),
        **_of_streams(settings.streams),
        **{name: check for route in settings.routes for name, check in _of_route(route).items()},
        **{name: check for one in settings.consumers for name, check in _of_consumer(one).items()},
    }
    names = [route.name for route in settings.routes]
    checks["[[routes]] names"] = (names, lambda found: len(set(found)) == len(found), "Give each route a name of its own.")
    for path, (value, fits, remedy) in checks.items():
        if not fits(value):
            raise SettingsError(f"{file}: {path} is {value!r}.", remedy=remedy)


def _of_places(settings: Settings) -> _Checks:
    return {
        "[project] entities": (settings.project.entities, bool, "Name the file that declares the entities."),
        "[project] models": (settings.project.models, bool, "Name the folder of the models."),
        "[database] port": (settings.database.port, range(65536).__contains__, _PORT),
        "[registry] port": (settings.registry.port, range(65536).__contains__, _PORT),
        "[lake] path": (settings.lake.path, bool, "Name a folder of its own: .bitvelocity/lake"),
    }


def _of_capture(capture: CaptureSettings) -> _Checks:
    sizes = ("backlog_mb", "warn_retained_mb", "bad_retained_mb", "warn_lag_mb", "warn_left_mb", "bad_left_mb")
    return {
        "[capture] source": (capture.source, SOURCES.__contains__, _one_of(SOURCES)),
        "[capture] topics": (capture.topics or capture.source == "postgres", bool, "Name Debezium's topic.prefix."),
        "[capture] slot": (capture.slot, SLOT_NAME.fullmatch, "Use 1 to 63 small letters, digits and underscores."),
        "[capture] publication": (capture.publication, bool, "Give it a name."),
        "[capture] cycle_ms": (capture.cycle_ms, range(60_001).__contains__, "Give milliseconds, from 0 to 60000."),
        "[capture] snapshot": (capture.snapshot, SNAPSHOTS.__contains__, _one_of(SNAPSHOTS)),
        "[capture] feed": (capture.feed, FEEDS.__contains__, _one_of(FEEDS)),
        "[capture] heartbeat_seconds": (capture.heartbeat_seconds, range(86_401).__contains__, "Give seconds, or 0 for none."),
        "[capture] silence_seconds": (capture.silence_seconds, range(1, 86_401).__contains__, "Give seconds, from 1 on."),
        **{
            f"[capture] {name}": (getattr(capture, name), range(1 << 40).__contains__, "Give megabytes, 0 or more.")
            for name in sizes
        },
        "[capture] snapshot_readers": (capture.snapshot_readers, range(1, 65).__contains__, "Give a number from 1 to 64."),
    }


def _of_streams(streams: StreamsSettings) -> _Checks:
    return {
        "[streams] route": (streams.route, ROUTES.__contains__, _one_of(ROUTES)),
        "[streams] contract": (streams.contract, CONTRACTS.__contains__, _one_of(CONTRACTS)),
        "[streams] dead_letters": (streams.dead_letters, DEAD_LETTERS.__contains__, _one_of(DEAD_LETTERS)),
        "[streams] dead_letters_hours": (streams.dead_letters_hours, range(1_000_000).__contains__, "Give hours, or 0."),
        "[streams] wire": (streams.wire, WIRES.__contains__, _one_of(WIRES)),
        "[streams] prefix": (streams.prefix, PREFIX.fullmatch, "Use letters, digits, _ and -."),
        "[streams] partitions": (streams.partitions, range(1, 10_001).__contains__, "Give a number from 1 to 10000."),
        "[streams] replicas": (streams.replicas, range(1, 33).__contains__, "Give a number from 1 to 32."),
        "[streams] retention_hours": (streams.retention_hours, range(1_000_000).__contains__, "Give hours, or 0."),
        "[streams] bus": (streams.bus, BUSES.__contains__, _one_of(BUSES)),
        "[streams] run": (streams.run, set(TRANSPORTS).issuperset, f"Name some of: {', '.join(TRANSPORTS)}."),
        "[streams.embedded] path": (streams.embedded.path, bool, "Name a folder of its own: .bitvelocity/streams"),
        "[streams.kafka] patience_seconds": (
            streams.kafka.patience_seconds, range(1, 3601).__contains__, "Give seconds, from 1 to 3600.",
        ),
    }  # fmt: skip


def _of_route(route: RouteSettings) -> _Checks:
    where = f"[[routes]] {route.name}".rstrip()
    words = {
        "bus": ("", *BUSES), "format": ROUTE_FORMATS, "wire": ROUTE_WIRES, "subjects": ("topic", "record", "topic-record"),
        "start": ("bronze", "now"), "order": ("key", "none"),
    }  # fmt: skip
    numbers = {"partitions": range(1, 10_001), "replicas": range(1, 100), "retention_hours": range(1_000_000)}
    return {
        f"{where} name": (route.name, ROUTE_NAME.fullmatch, "Give each a name of small letters, digits, - and _."),
        f"{where} entities": (route.entities, bool, 'Name entities, or write "*".'),
        f"{where} operations": (route.operations, lambda of: of and set(of) <= set("cudtr"), "Name some of: c, u, d, t, r."),
        **{
            f"{where} {name}": (getattr(route, name), known.__contains__, _one_of(known))
            for name, known in words.items()
        },
        **{
            f"{where} {name}": (getattr(route, name), known.__contains__, f"From {known.start} to {known.stop - 1}.")
            for name, known in numbers.items()
        },
    }


def _of_consumer(consumer: ConsumerSettings) -> _Checks:
    where = f"[[consumers]] {consumer.name}".rstrip()
    said = 'Write columns, such as "order_id", "total: decimal(12,2)", "placed_at: timestamptz not null".'
    return {
        f"{where} name": (consumer.name, bool, "Give it the name of who reads."),
        f"{where} entity": (consumer.entity, bool, "Name the entity that it reads."),
        f"{where} fields": (consumer.fields, lambda of: of and all(map(CONSUMED.fullmatch, of)), said),
    }


def _one_of(words: tuple[str, ...]) -> str:
    return f"Write one of: {', '.join(filter(None, words))}."
