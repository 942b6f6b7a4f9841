"""Requests to a real server, many at once: each one's writes carry its own user and correlation id."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import uvicorn
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy.ext.asyncio import create_async_engine

from bitvelocity import audit_asgi
from bitvelocity.oltp import AsyncAuditConnection, AuditConnection, audit, connect, install_audit
from bitvelocity.oltp.audit_asgi import Application, Message, Receive, Scope, Send

NOTED = """
create table noted (way text, n int, who text default current_setting('bv.operation_user', true),
                    correlation text default current_setting('bv.correlation_id', true),
                    source text default current_setting('bv.source', true))"""
INSERT = "insert into noted (way, n) values (%s, %s)"
Write = Callable[[str, int], Any]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Shop:
    """An application with a pool and two engines, which yields to the others wherever it can."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.seen: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.seen.append(scope)
        _, way, number = scope["path"].split("/")
        await asyncio.sleep(0.001)
        await getattr(self, f"by_{way}")(way, int(number))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def _live(self, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        self.pool = AsyncConnectionPool(self._dsn, connection_class=AsyncAuditConnection, min_size=3, max_size=3, open=False)
        await self.pool.open()
        self.lazy = create_async_engine(
            "postgresql+psycopg_async://", async_creator=lambda: psycopg.AsyncConnection.connect(self._dsn), pool_size=3
        )
        self.engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(self._dsn), pool_size=3)
        install_audit(self.lazy)
        install_audit(self.engine)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.pool.close()
        await self.lazy.dispose()
        self.engine.dispose()
        await send({"type": "lifespan.shutdown.complete"})

    async def by_pool(self, way: str, n: int) -> None:
        async with self.pool.connection() as connection:
            await connection.execute(INSERT, (way, n))
            await asyncio.sleep(0.002)
            await connection.execute(INSERT, (way, n))

    async def by_block(self, way: str, n: int) -> None:
        async with self.pool.connection() as connection:
            for _ in range(2):
                async with connection.transaction():
                    await asyncio.sleep(0.002)
                    async with connection.cursor() as cursor:
                        await cursor.executemany(INSERT, [(way, n)])

    async def by_lazy(self, way: str, n: int) -> None:
        async with self.lazy.begin() as connection:
            for _ in range(2):
                await connection.exec_driver_sql(INSERT, (way, n))
                await asyncio.sleep(0.002)

    async def by_thread(self, way: str, n: int) -> None:
        def work() -> None:
            with self.engine.begin() as connection:
                connection.exec_driver_sql(INSERT, (way, n))
                connection.exec_driver_sql(INSERT, (way, n))

        await asyncio.to_thread(work)


@contextmanager
def served(app: Application) -> Iterator[int]:
    """A uvicorn in a thread, on a port of its own."""
    config = uvicorn.Config(app, port=0, loop="asyncio", http="h11", ws="none", lifespan="on", log_level="error")
    server = uvicorn.Server(config)
    ready = threading.Event()
    startup = server.startup

    async def started(*words: Any, **options: Any) -> None:
        await startup(*words, **options)
        ready.set()

    server.startup = started  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(30)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def post(port: int, path: str, **headers: str) -> dict[str, str]:
    """The headers of the answer, in small letters."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


@pytest.fixture
def noted(database: str) -> Callable[[str], list[tuple[Any, ...]]]:
    with connect(database, autocommit=True) as admin:
        admin.execute(NOTED)
        admin.execute("select pg_create_logical_replication_slot('told', 'test_decoding')")

    def read(columns: str) -> list[tuple[Any, ...]]:
        with connect(database) as connection:
            return connection.execute(f"select {columns} from noted order by way, n").fetchall()  # type: ignore[call-overload,unused-ignore,no-any-return]

    return read


def test_contexts_never_mix(database: str, noted: Callable[[str], list[tuple[Any, ...]]]) -> None:
    shop = Shop(database)
    ways = ("pool", "block", "lazy", "thread")
    with served(audit_asgi(shop, user_header="X-User", source="shop")) as port:

        def visit(n: int) -> dict[str, str]:
            return post(port, f"/{ways[n % 4]}/{n}", X_User=f"user {n}", X_Correlation_ID=f"c-{n}", traceparent=TRACE)

        with ThreadPoolExecutor(12) as crowd:
            answers = list(crowd.map(visit, range(120)))
    assert [answer["x-correlation-id"] for answer in answers] == [f"c-{n}" for n in range(120)]
    rows = noted("n, who, correlation, source")
    assert len(rows) == 240
    assert all(row == (row[0], f"user {row[0]}", f"c-{row[0]}", "shop") for row in rows)
    with connect(database, autocommit=True) as admin:
        told = admin.execute("select data from pg_logical_slot_get_changes('told', null, null)").fetchall()
    messages = [json.loads(line.split("content:", 1)[1]) for (line,) in told if line.startswith("message:")]
    assert len(messages) == 150, "one in a transaction; two transactions in a block"
    assert {message["traceparent"] for message in messages} == {TRACE}


def test_what_a_request_says(database: str, noted: Callable[[str], list[tuple[Any, ...]]]) -> None:
    shop = Shop(database)
    with served(audit_asgi(shop, user=lambda scope: scope["path"].rpartition("/")[2], anonymous="guest")) as port:
        made = post(port, "/pool/1")["x-correlation-id"]
        assert str(uuid.UUID(made)) == made
        assert post(port, "/pool/2", X_Request_ID="r-2")["x-correlation-id"] == "r-2"
        unfit = post(port, "/pool/3", X_Correlation_ID="two words")["x-correlation-id"]
        assert uuid.UUID(unfit)
        assert uuid.UUID(post(port, "/pool/4", X_Correlation_ID="x" * 129)["x-correlation-id"])
    assert noted("who, correlation")[::2][:3] == [("1", made), ("2", "r-2"), ("3", unfit)]
    assert [scope["correlation_id"] for scope in shop.seen[:2]] == [made, "r-2"]


class Person:
    is_authenticated = True
    display_name = "Alice A."


class Nobody:
    is_authenticated = False
    display_name = ""


@pytest.mark.parametrize(
    ("user", "anonymous", "who"),
    [
        (Person(), None, "Alice A."), ("bob", None, "bob"), ({"sub": "carol"}, None, "carol"),
        (Nobody(), "guest", "guest"), (None, None, ""),
    ],
    ids=["object", "text", "claims", "nobody", "no authentication"],
)  # fmt: skip
def test_what_an_authentication_says(
    database: str, noted: Callable[[str], list[tuple[Any, ...]]], user: Any, anonymous: str | None, who: str
) -> None:
    wrapped = audit_asgi(Shop(database), anonymous=anonymous)

    async def authenticated(scope: Scope, receive: Receive, send: Send) -> None:
        if user is not None:
            scope["user"] = user
        await wrapped(scope, receive, send)

    with served(authenticated) as port:
        post(port, "/thread/1")
    assert [found or "" for (found,) in noted("who")] == [who, who]


def test_websockets_have_a_context_and_errors_leave_none() -> None:
    from bitvelocity.oltp.audit import CURRENT

    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        assert CURRENT.get()[-1].user == "alice"
        raise LookupError

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {}

    async def run() -> None:
        with pytest.raises(LookupError):
            await audit_asgi(app)({"type": "websocket", "headers": [], "user": "alice"}, receive, send)
        assert CURRENT.get() == ()

    asyncio.run(run())
    assert sent[0]["headers"][0][0] == b"x-correlation-id"


def test_a_pool_of_plain_connections(database: str, noted: Callable[[str], list[tuple[Any, ...]]]) -> None:
    with ConnectionPool(database, connection_class=AuditConnection, min_size=1, max_size=1) as pool:
        with audit(user="alice"), pool.connection() as connection:
            connection.execute(INSERT, ("a", 1))
            connection.commit()
            with connection.cursor() as cursor, cursor.copy("copy noted (way, n) from stdin") as copy:
                copy.write_row(("a", 2))
            connection.commit()
            with connection.transaction(), connection.pipeline():
                connection.execute(INSERT, ("a", 3))
            assert list(connection.cursor().stream("select 1")) == [(1,)]
        with pool.connection() as connection:
            connection.execute(INSERT, ("b", 1))
        with pool.connection() as connection:
            connection.autocommit = True
            with audit(user="carol"), connection.transaction():
                connection.execute(INSERT, ("c", 1))
            connection.autocommit = False
    assert [(who or "") for (who,) in noted("who")] == ["alice", "alice", "alice", "", "carol"]


def test_sqlalchemy_in_autocommit_and_two_phases(database: str, noted: Callable[[str], list[tuple[Any, ...]]]) -> None:
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database))
    install_audit(engine)
    with audit(user="alice"), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(INSERT, ("a", 1))
    with audit(user="bob"), engine.connect() as connection, connection.begin_twophase() as transaction:
        said = connection.exec_driver_sql("select current_setting('bv.operation_user')").scalar()
        transaction.rollback()
    assert said == "bob"
    engine.dispose()
    with connect(database, autocommit=True) as admin:
        told = admin.execute("select data from pg_logical_slot_get_changes('told', null, null)").fetchall()
    assert not [line for (line,) in told if line.startswith("message:")], "no context of its own"
