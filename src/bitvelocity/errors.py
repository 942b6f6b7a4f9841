"""Errors as data: what happened, to which entity and position, what is safe, what to do, and who retries.

```
BitVelocityError
 ├─ DeclarationError     an entity, model or setting is written wrongly
 ├─ SettingsError        bitvelocity.toml or the environment is wrong
 ├─ MissingExtraError    an engine's library is not installed
 ├─ DatabaseError        the OLTP database cannot do what was asked
 ├─ CaptureError         the change stream stopped
 ├─ LakeError            a table of the lakehouse cannot be read or written
 ├─ ModelError           a gold model does not give what it declares
 ├─ QueryError           a query is refused or fails
 ├─ RegistryError        the schema registry refuses, or cannot be reached
 ├─ BusError             a transport of topics cannot do what was asked
 └─ ReconcileError       two layers do not agree
```
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Retry = Literal["itself", "person", "never"]
"""Who retries: the program by itself, a person after the remedy, or nobody."""


class BitVelocityError(Exception):
    """Something went wrong in BitVelocity."""

    retry: ClassVar[Retry] = "person"

    def __init__(
        self,
        what: str | None = None,
        *,
        entity: str | None = None,
        position: str | None = None,
        safe: str | None = None,
        remedy: str | None = None,
        code: str | None = None,
    ) -> None:
        self.what = what or (type(self).__doc__ or "").strip()
        self.entity = entity
        self.position = position
        self.safe = safe
        self.remedy = remedy
        self.code = code or type(self).__name__
        super().__init__(self.what)

    def __str__(self) -> str:
        where = " ".join(
            part
            for part in (
                f"[{self.entity}]" if self.entity else "",
                f"at {self.position}:" if self.position else "",
            )
            if part
        )
        lines = [f"{where} {self.what}".strip()]
        if self.safe:
            lines.append(f"Safe: {self.safe}")
        if self.remedy:
            lines.append(f"Remedy: {self.remedy}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The error as the `--json` output prints it."""
        return {
            "error": self.code,
            "what": self.what,
            "entity": self.entity,
            "position": self.position,
            "safe": self.safe,
            "remedy": self.remedy,
            "retry": self.retry,
        }


class DeclarationError(BitVelocityError):
    """An entity, model or setting is written wrongly."""


class SettingsError(BitVelocityError):
    """bitvelocity.toml or the environment is wrong."""


class MissingExtraError(BitVelocityError):
    """The library of an engine is not installed."""


class DatabaseError(BitVelocityError):
    """The database cannot do what was asked."""


class CaptureError(BitVelocityError):
    """The change stream stopped."""


class ConnectionLostError(CaptureError):
    """The connection to the source was lost."""

    retry: ClassVar[Retry] = "itself"


class LakeError(BitVelocityError):
    """A table of the lakehouse cannot be read or written."""


class PoisonError(LakeError):
    """Something in the changes themselves cannot be written. They are taken once more, each tried before it is taken."""

    retry: ClassVar[Retry] = "itself"


class ModelError(BitVelocityError):
    """A gold model does not give what it declares."""


class QueryError(BitVelocityError):
    """The query is refused or fails."""


class RegistryError(BitVelocityError):
    """The schema registry refuses the request."""


class BusError(BitVelocityError):
    """The transport of the topics cannot do what was asked."""


class BusLostError(BusError):
    """The connection to the transport was lost, or it has no majority; what was under way may have happened or not."""

    retry: ClassVar[Retry] = "itself"


class FencedError(BusError):
    """Somebody else does this work now: a younger publisher of the name, or another member of the group."""

    retry: ClassVar[Retry] = "never"


class OffsetGoneError(BusError):
    """Records that are asked for are no longer kept."""


class ReconcileError(BitVelocityError):
    """Two layers do not agree."""
