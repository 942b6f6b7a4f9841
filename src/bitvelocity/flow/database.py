"""The project's source database: the configured one, or the embedded server for as long as it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..oltp import EmbeddedPostgres, Server, attach, connect
from .project import Project


@dataclass(frozen=True, slots=True)
class Database:
    """Where the source is. `server` is None when it is not ours."""

    dsn: str
    server: Server | None = None
    engine: EmbeddedPostgres | None = None

    def revive(self) -> Database:
        """The same database, started again when our embedded server died."""
        if self.engine is None:
            return self
        server = self.engine.start()
        return Database(server.dsn, server, self.engine)


@contextmanager
def source_database(project: Project) -> Iterator[Database]:
    """The configured database, which must answer; or the embedded server: started and stopped here, or joined.

    Where Debezium's topics are the source there may be none: nothing is started, and its DSN may be empty.
    """
    if project.settings.capture.source != "postgres":
        yield Database(project.settings.database.dsn)
        return
    if not project.embedded:
        connect(project.settings.database.dsn).close()  # the error that says most about a DSN
        yield Database(project.settings.database.dsn)
        return
    port = project.settings.database.port
    engine = EmbeddedPostgres(project.settings.state_folder / "pg", port=port or None)
    server = engine.start()
    try:
        yield Database(server.dsn, server, engine)
    finally:
        engine.stop()


def running_database(project: Project) -> Database | None:
    """The source when it can be asked without starting anything, else None."""
    if not project.embedded:
        return Database(project.settings.database.dsn)
    server = attach(project.settings.state_folder / "pg")
    return Database(server.dsn, server) if server else None
