"""Who feeds whom: the project, its pipeline, and what people ask of both."""

from .adopt import adopt_database
from .beat import Heartbeat, read_beat
from .database import Database, running_database, source_database
from .doctor import diagnose
from .prepare import prepare
from .project import Project, open_project
from .reading import open_reader
from .reconcile import Verdict, prove, reconcile
from .run import Pipeline, Step
from .status import Status, status
from .supervise import supervise
from .waiting import flowing, wait_until

__all__ = [
    "Database", "Heartbeat", "Pipeline", "Project", "Status", "Step", "Verdict", "adopt_database",
    "diagnose", "flowing", "open_project", "open_reader", "prepare", "prove", "read_beat", "reconcile", "running_database",
    "source_database", "status", "supervise", "wait_until",
]  # fmt: skip
