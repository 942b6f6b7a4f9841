"""The source database: the embedded server, its tables and their evolution, audit context, adoption, checks."""

from .account import server_account
from .adopt import Adoption, Problem, adopt, prepare_capture
from .apply import AppliedReport, apply
from .audit import Audit, audit
from .audit_asgi import audit_asgi
from .audit_psycopg import AsyncAuditConnection, AuditConnection
from .audit_sqlalchemy import install as install_audit
from .binaries import Binaries, find_binaries, installed
from .checks import Check, check
from .connect import connect, describe, has_password
from .embedded import EmbeddedPostgres, attach
from .heartbeat import beat_once
from .partitions import ensure_partitions, expire_partitions
from .plan import Plan, plan
from .process import Server
from .steps import Refused, Step
from .trail_query import Told, TrailQuery, read_trail, trail_positions
from .trail_sink import TrailSink

__all__ = [
    "Adoption", "AppliedReport", "AsyncAuditConnection", "Audit", "AuditConnection", "Binaries", "Check", "EmbeddedPostgres", "Plan", "Problem", "Refused",
    "Server", "Step", "Told", "TrailQuery", "TrailSink", "adopt", "apply", "attach", "audit", "audit_asgi", "beat_once", "check", "connect", "describe", "ensure_partitions", "expire_partitions",
    "find_binaries", "has_password", "install_audit", "installed", "plan", "prepare_capture", "read_trail", "server_account",
    "trail_positions",
]  # fmt: skip
