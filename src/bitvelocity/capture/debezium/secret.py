"""Where the password is found at run time. The password itself is never written into a configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import SettingsError

_KINDS = {
    "env": re.compile(r"env:(?P<key>[A-Za-z_][A-Za-z0-9_]*)"),
    "file": re.compile(r"file:(?P<path>[^:{}$]+):(?P<key>[^:{}$]+)"),
    "secrets": re.compile(r"secrets:(?P<path>[a-z0-9.-]+/[a-z0-9.-]+):(?P<key>[^:{}$]+)"),
}
_PROVIDERS = {
    "env": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
    "file": "org.apache.kafka.common.config.provider.FileConfigProvider",
    "secrets": "io.strimzi.kafka.KubernetesSecretConfigProvider",
}


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference: `env:NAME`, `file:PATH:KEY`, or `secrets:NAMESPACE/NAME:KEY`."""

    kind: str
    path: str
    key: str

    @property
    def provider(self) -> str:
        """The class of the config provider that a Connect worker needs for it."""
        return _PROVIDERS[self.kind]

    @property
    def for_connect(self) -> str:
        """As Kafka Connect's config providers read it."""
        return f"${{{self.kind}:{self.path}:{self.key}}}" if self.path else f"${{{self.kind}:{self.key}}}"

    @property
    def for_server(self) -> str:
        """As Debezium Server reads it, which knows environment variables only."""
        if self.kind != "env":
            raise SettingsError(
                f"Debezium Server cannot read a password from {self.kind}:.",
                remedy="Give it in an environment variable: --password-from env:NAME",
            )
        return f"${{{self.key}}}"


def secret(text: str) -> Secret:
    """Read a reference as a person writes it. What is no reference may be a password: it is not repeated."""
    for kind, pattern in _KINDS.items():
        if match := pattern.fullmatch(text):
            return Secret(kind, match.groupdict().get("path") or "", match["key"])
    raise SettingsError(
        "The password's place is written wrongly.",
        remedy="Write env:NAME, file:/path/to.properties:KEY, or secrets:NAMESPACE/NAME:KEY; never the password itself.",
    )
