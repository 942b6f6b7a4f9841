"""What a project says about itself: `bitvelocity.toml` and the environment, typed and checked.

Every value may be `"${NAME}"`, taken from the environment: that is where secrets belong. `BITVELOCITY_DSN` wins over
`[database] dsn`.
"""

from .checks import CONSUMED, TRANSPORTS
from .reading import FILE_NAME, find_project, load_settings
from .sections import (
    CaptureSettings,
    ConsumerSettings,
    DatabaseSettings,
    EmbeddedBusSettings,
    KafkaSettings,
    LakeSettings,
    NatsSettings,
    ProjectSettings,
    RabbitmqSettings,
    RegistrySettings,
    RouteSettings,
    Settings,
    StreamsSettings,
    TlsSettings,
)

__all__ = [
    "CONSUMED",
    "FILE_NAME",
    "TRANSPORTS",
    "CaptureSettings",
    "ConsumerSettings",
    "DatabaseSettings",
    "EmbeddedBusSettings",
    "KafkaSettings",
    "LakeSettings",
    "NatsSettings",
    "ProjectSettings",
    "RabbitmqSettings",
    "RegistrySettings",
    "RouteSettings",
    "Settings",
    "StreamsSettings",
    "TlsSettings",
    "find_project",
    "load_settings",
]
