"""A project's configuration for the real Debezium, for whoever runs that instead of `bitvelocity up`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..capture import debezium
from ..errors import DeclarationError, SettingsError
from .database import running_database
from .project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class DebeziumWish:
    """What the configuration should be like."""

    form: debezium.Form
    topic_prefix: str = ""
    """Empty: the project's name."""
    unwrap: bool = False
    password_from: str = "env:DEBEZIUM_PASSWORD"  # noqa: S105 - where it is, not what it is
    more: Mapping[str, str] = field(default_factory=dict)


def debezium_config(project: Project, wish: DebeziumWish) -> str:
    """The text of a configuration with which Debezium captures the project's tables. Nothing is contacted."""
    settings = project.settings
    if not project.specs:
        raise DeclarationError(f"{settings.entities_file} declares no entity.", remedy="Declare one; see docs/how-to.")
    plan = debezium.Plan(
        endpoint=_endpoint(project),
        specs=project.specs,
        publication=settings.capture.publication,
        slot=f"{settings.capture.slot[:54]}_debezium",
        topic_prefix=wish.topic_prefix or _topic_prefix(settings.project.name),
        password=debezium.secret(wish.password_from),
        snapshot=settings.capture.snapshot != "never",
        unwrap=wish.unwrap,
        more=wish.more,
    )
    return debezium.render(plan, wish.form)


def _endpoint(project: Project) -> debezium.Endpoint:
    if not project.embedded:
        return debezium.endpoint(project.settings.database.dsn)
    if database := running_database(project):
        return debezium.endpoint(database.dsn)
    if port := project.settings.database.port:
        return debezium.Endpoint(host="localhost", port=port, database="postgres", user="postgres")
    raise SettingsError(
        "The embedded PostgreSQL is not running, and its port is not set.",
        remedy="Start it with bitvelocity up, or set [database] port in bitvelocity.toml.",
    )


def _topic_prefix(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_") or "bitvelocity"
