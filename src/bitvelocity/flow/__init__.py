"""Who feeds whom: the project, its pipeline, and what people ask of both.

Names are loaded when they are first used: a query needs nothing of what writes to databases. So no file here has the
name of what it exports: the file, once loaded, would stand where the function should.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adopt import adopt_database
    from .beat import Heartbeat, read_beat
    from .buses import local_servers, open_bus
    from .database import Database, running_database, source_database
    from .doctor import diagnose
    from .gate import Reason, check_entities, register_entities
    from .gauges import prometheus
    from .letterbox import find_letters, key_text, order_letters
    from .migrating import Migrated, Migration, Move, migration
    from .ordering import Readings, order_reading, show_readings
    from .outgrow import DebeziumWish, debezium_config
    from .preparation import check_startable, prepare
    from .project import Project, open_project
    from .proof import Verdict, prove, reconcile
    from .reading import open_reader
    from .recovering import recover
    from .renewal import rebuild_silver, renew_silver
    from .run import Pipeline, Step
    from .schemas import open_registry, reasons_against, registry_beside, serve_registry
    from .standing import Status, status
    from .supervisor import supervise
    from .telling import Telling, change_records
    from .trails import audit_trail
    from .waiting import flowing, wait_until
    from .wires import Wished, carried

__all__ = [
    "Database", "DebeziumWish", "Heartbeat", "Migrated", "Migration", "Move", "Pipeline", "Project", "Readings", "Reason",
    "Status", "Step", "Telling", "Verdict", "Wished", "adopt_database", "audit_trail", "carried", "change_records",
    "check_entities", "check_startable", "debezium_config", "diagnose", "find_letters", "flowing", "key_text", "local_servers", "migration",
    "open_bus", "open_project", "open_reader", "open_registry", "order_letters", "order_reading", "prepare", "prometheus",
    "prove", "read_beat", "reasons_against",
    "rebuild_silver", "reconcile", "recover", "register_entities", "registry_beside", "renew_silver",
    "running_database", "serve_registry", "show_readings", "source_database", "status", "supervise", "wait_until",
]  # fmt: skip

_HOMES = {
    "adopt": ("adopt_database",),
    "beat": ("Heartbeat", "read_beat"),
    "buses": ("local_servers", "open_bus"),
    "database": ("Database", "running_database", "source_database"),
    "doctor": ("diagnose",),
    "gate": ("Reason", "check_entities", "register_entities"),
    "gauges": ("prometheus",),
    "letterbox": ("find_letters", "key_text", "order_letters"),
    "migrating": ("Migrated", "Migration", "Move", "migration"),
    "ordering": ("Readings", "order_reading", "show_readings"),
    "outgrow": ("DebeziumWish", "debezium_config"),
    "preparation": ("check_startable", "prepare"),
    "project": ("Project", "open_project"),
    "proof": ("Verdict", "prove", "reconcile"),
    "reading": ("open_reader",),
    "recovering": ("recover",),
    "renewal": ("rebuild_silver", "renew_silver"),
    "run": ("Pipeline", "Step"),
    "schemas": ("open_registry", "reasons_against", "registry_beside", "serve_registry"),
    "standing": ("Status", "status"),
    "supervisor": ("supervise",),
    "telling": ("Telling", "change_records"),
    "trails": ("audit_trail",),
    "waiting": ("flowing", "wait_until"),
    "wires": ("Wished", "carried"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
