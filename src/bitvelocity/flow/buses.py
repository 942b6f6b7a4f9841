"""From the name of a transport to its engine, connected where the project says. An engine's library is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..settings import Settings
from ..streams import Bus
from ..streams.servers import SERVERS, LocalServer, Tell
from ..streams.tls import trusted

if TYPE_CHECKING:
    import pyarrow as pa

    from ..streams import Place
    from ..streams.embedded import Older
    from ..streams.lag import Depth

_LOOK_S = 5


def open_bus(settings: Settings, name: str = "") -> Bus:
    """The transport of that name, by default the project's; whoever opens it closes it."""
    chosen = name or settings.streams.bus
    if chosen not in _ENGINES:
        raise SettingsError(f"There is no transport {chosen!r}.", remedy=f"Write one of: {', '.join(_ENGINES)}.")
    return _ENGINES[chosen](settings)


@contextmanager
def local_servers(settings: Settings, names: Sequence[str], tell: Tell) -> Iterator[Mapping[str, LocalServer]]:
    """Servers of these names, with their data in the project's folder: started here and stopped here, or joined."""
    unknown = [name for name in names if name not in SERVERS]
    if unknown:
        raise SettingsError(f"There is no server of {', '.join(unknown)} to start.", remedy=f"Known: {', '.join(SERVERS)}.")
    with ExitStack() as stack:
        yield {name: stack.enter_context(_server(settings, name, tell)) for name in dict.fromkeys(names)}


def local_server(settings: Settings, name: str) -> LocalServer | None:
    """The server of a transport that `up` runs here, or ran; None: the settings name another one, or it needs none."""
    kind = name.partition("-")[0]
    named = {"kafka": settings.streams.kafka.bootstrap, "nats": settings.streams.nats.url, "rabbitmq": settings.streams.rabbitmq.url}
    return _server(settings, kind) if named.get(kind) == "" else None


def place_of(settings: Settings, name: str) -> str:
    """The transport and where it is looked for, as a person is told: no user, no password."""
    kind, own = name.partition("-")[0], settings.streams
    with suppress(SettingsError):
        address = {"kafka": own.kafka.bootstrap, "nats": own.nats.url, "rabbitmq": own.rabbitmq.url}.get(kind)
        if address == "":
            address = _local(settings, kind, "")
        if address:
            return f"{name} at {', '.join(map(_bare, address.split(',')))}"
    return name


def _bare(address: str) -> str:
    """Host and port of an address."""
    return address.strip().partition("://")[2].partition("?")[0].partition("/")[0].rpartition("@")[2] or address.strip()


def impatient(settings: Settings) -> Settings:
    """Settings for a look, which does not wait for a transport as long as a pipeline does."""
    kafka = settings.streams.kafka
    kafka = replace(kafka, patience_seconds=min(kafka.patience_seconds, _LOOK_S))
    return replace(settings, streams=replace(settings.streams, kafka=kafka))


def _embedded(settings: Settings) -> Bus:
    from ..streams.embedded import EmbeddedBus

    return EmbeddedBus(settings.root / settings.streams.embedded.path, older=_remains(settings))


def _remains(settings: Settings) -> Older:
    """What a topic lets go of is in bronze. Nothing of that is loaded before somebody asks for it."""

    @cache
    def remains() -> Older:
        from .remains import Remains

        return Remains(settings)

    def older(topic: str, first: Place, last: Place) -> pa.Table | None:
        return remains()(topic, first, last)

    return older


def _kafka(settings: Settings) -> Bus:
    from ..streams.kafka import KafkaBus

    own = settings.streams.kafka
    files = {name for name, value in own.client.items() if name.endswith(".location") and value != "probe"}
    client = {name: _at(settings, value) if name in files else value for name, value in own.client.items()}
    bootstrap = own.bootstrap or _local(settings, "kafka", "bootstrap")
    patience, copies = own.patience_seconds, _copies(settings, "kafka")
    return KafkaBus(bootstrap, client=client, patience=patience, direct=own.direct, replicas=copies)


def _nats(settings: Settings) -> Bus:
    from ..streams.nats import Login, NatsBus

    own = settings.streams.nats
    file = Path(_at(settings, own.credentials)) if own.credentials else None
    login = Login(user=own.user, password=own.password, token=own.token, credentials=file)
    where, copies = own.url or _local(settings, "nats", "url"), _copies(settings, "nats")
    return NatsBus(where, login=login, tls=trusted(settings.root, own), replicas=copies)


def _copies(settings: Settings, bus: str) -> int:
    """Of what a bus keeps for itself: as many as any topic on it has, or its loss would stop them."""
    streams = settings.streams
    on_it = [route.replicas for route in settings.routes if (route.bus or streams.bus) == bus]
    return max([1, *on_it, *([streams.replicas] if streams.bus == bus else [])])


def _rabbitmq(settings: Settings) -> Bus:
    from ..streams.rabbitmq import RabbitStreams

    return RabbitStreams(_rabbit(settings), **_as_user(settings))


def _rabbitmq_queues(settings: Settings) -> Bus:
    from ..streams.rabbitmq import RabbitQueues

    return RabbitQueues(_rabbit(settings), **_as_user(settings))


def depths_of(settings: Settings, name: str, topics: Sequence[str]) -> Sequence[Depth]:
    """What waits in the queues of these topics; nothing where a transport has no queues."""
    if name != "rabbitmq-queues":
        return ()
    from ..streams.rabbitmq import depths

    return depths(_rabbit(settings), topics, **_as_user(settings))


def _rabbit(settings: Settings) -> str:
    return settings.streams.rabbitmq.url or _local(settings, "rabbitmq", "url")


def _as_user(settings: Settings) -> dict[str, Any]:
    own = settings.streams.rabbitmq
    return {"user": own.user, "password": own.password, "tls": trusted(settings.root, own)}


def _at(settings: Settings, file: str) -> str:
    """The path of a file that the settings name: it begins at the project."""
    return str(settings.root / file)


_ENGINES: Mapping[str, Callable[[Settings], Bus]] = {
    "embedded": _embedded, "kafka": _kafka, "nats": _nats, "rabbitmq": _rabbitmq, "rabbitmq-queues": _rabbitmq_queues,
}  # fmt: skip


def _server(settings: Settings, name: str, tell: Tell = lambda _: None) -> LocalServer:
    return LocalServer(SERVERS[name](), _folder(settings, name), tell=tell)


def _local(settings: Settings, name: str, setting: str) -> str:
    """The address of the server that `up --with` runs."""
    if not (_folder(settings, name) / "ports.json").exists():
        raise SettingsError(
            f"[streams.{name}] {setting} names no server, and none was started here.",
            remedy=f"Start one: bitvelocity up --with {name}. Or name yours in bitvelocity.toml.",
        )
    return _server(settings, name).address


def _folder(settings: Settings, name: str) -> Path:
    return settings.state_folder / name
