"""Who may what on a RabbitMQ: the errors of both protocols, in the same words."""

from __future__ import annotations

from ...errors import BusError
from .address import Address

RIGHTS = (
    "Give the user the rights to configure, write and read: rabbitmqctl set_permissions -p <vhost> <user> '.*' '.*' '.*'. "
    "docs/how-to/topics-on-rabbitmq.md says which names are enough."
)


def login_refused(where: str, address: Address) -> BusError:
    return BusError(
        f"{where} does not let {address.user} in.", code="LoginRefused", safe="Nothing was written.",
        remedy="Check user and password in [streams.rabbitmq], or in its url. The user guest may come from the server's own machine only.",
    )  # fmt: skip


def vhost_refused(where: str, address: Address) -> BusError:
    return BusError(
        f"{where} does not open the virtual host {address.vhost} for {address.user}.", code="AccessRefused", safe="Nothing was written.",
        remedy="Is it there (rabbitmqctl list_vhosts), and may the user use it (rabbitmqctl list_permissions -p <vhost>)? It stands "
        "behind the / of the url: amqps://host:5671/shop%20floor.",
    )  # fmt: skip
