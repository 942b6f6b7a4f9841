"""The bus over Kafka: transactions, consumer groups of the broker's own protocol, Arrow at the client's border."""

from ...errors import MissingExtraError as _MissingExtraError

try:
    import confluent_kafka as _  # noqa: F401 - asked for here, so that whoever lacks it is told how to get it
except ImportError as error:
    raise _MissingExtraError(
        "Topics on Kafka need the library confluent-kafka.", remedy="pip install 'bitvelocity[kafka]'"
    ) from error

from .bus import KafkaBus

__all__ = ["KafkaBus"]
