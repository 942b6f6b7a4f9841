"""What `init --with` writes into a project's settings: servers of topics, and a route to each."""

from __future__ import annotations

from collections.abc import Sequence

_HEAD = """
# Topics. `up` starts the servers in `run` on 127.0.0.1, with their data in .bitvelocity/, and stops them with itself. For a
# server of your own take it out of `run`, and name it: [streams.kafka] bootstrap, [streams.nats] url, [streams.rabbitmq] url.
[streams]
bus = {bus}
run = [{run}]

# Routes: changes that go to topics, beside the lake. Each change comes once, in the order of its row.
"""
_ROUTES = {
    "kafka": """
# Kafka has the change streams: every change of every table, kept, and read again by whoever wants to. The topics are
# shop.public.orders and so on, in Debezium's format; their schemas are in the registry that `up` serves.
[[routes]]
name = "changes"
bus = "kafka"
entities = ["*"]
prefix = "shop"
""",
    "nats": """
# NATS has light notifications: what caches should forget. They come from now on, small and plain, and are soon gone.
[[routes]]
name = "hints"
bus = "nats"
entities = ["orders", "products", "customers"]
prefix = "shop"
format = "debezium-unwrapped"
wire = "json"
operations = ["u", "d"]
retention_hours = 1
start = "now"
options = { "decimal.handling.mode" = "string" }  # else amounts are bytes in base64, as Debezium has them
""",
    "rabbitmq": """
# RabbitMQ has work that must be acknowledged: each new order is handed out until somebody has done it. A queue knows no
# order of keys, and after a crash work may come again (with the same ce_id), so it has to be said: order = "none".
[[routes]]
name = "work"
bus = "rabbitmq-queues"
entities = ["orders"]
topic = "new-orders"
format = "bitvelocity"
wire = "json"
operations = ["c"]
start = "now"
order = "none"
""",
}


_READ = {
    "kafka": "    kcat -b <kafka> -C -t shop.public.orders -o beginning     (Avro; `registry` has the schemas)\n",
    "nats": "    nats sub 'shop.public.*.0' --server <nats>                (updates and deletions, as they come)\n",
    "rabbitmq": "    the queue new-orders.unclaimed at <rabbitmq>              (made by the first order; acknowledge what is done)\n",
}


def topics_readme(servers: Sequence[str]) -> str:
    """What the project's README says of its topics; nothing for none."""
    if not servers:
        return ""
    return (
        "\n## Read its topics\n\nEach change goes to topics too, as `[[routes]]` in `bitvelocity.toml` say. `bitvelocity up` prints where the servers "
        "listen and how the topics are called:\n\n" + "".join(_READ[name] for name in servers) + "\nPrograms for Confluent's client, kcat, nats-py and pika "
        "are in BitVelocity's docs/how-to/read-topics.md.\n"
    )


def topics_section(servers: Sequence[str]) -> str:
    """The sections of `bitvelocity.toml` for these servers; nothing for none."""
    if not servers:
        return ""
    run = ", ".join(f'"{name}"' for name in servers)
    return _HEAD.format(bus=f'"{servers[0]}"', run=run) + "".join(_ROUTES[name] for name in servers)


__all__ = ["topics_readme", "topics_section"]
