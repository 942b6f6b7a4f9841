"""RabbitMQ as two transports: streams, which are read again by offset, and queues of work that is acknowledged."""

from .depths import depths
from .queues import RabbitQueues
from .streams import RabbitStreams

__all__ = ["RabbitQueues", "RabbitStreams", "depths"]
